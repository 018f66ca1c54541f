-- A chunk that nobody wants any more is not run: say why, and acknowledge the message.
-- KEYS: job record, chunk facts, Celery result, messages held.
-- ARGV: chunk, seeds in the chunk, Celery result text, lifetime ms, delivery tag, job id.
-- Returns 1 if the reason was stored, 0 if there is nothing to say: the chunk has ended, or its job goes on.
redis.call('HDEL', KEYS[4], ARGV[5])
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local status, expires = unpack(redis.call('HMGET', KEYS[1], 'status', 'expires_ms'))
local fact = redis.call('HGET', KEYS[2], ARGV[1])
if fact and fact ~= 'running' and fact ~= 'dropped' then
  return 0
elseif status and status ~= 'canceled' and now < tonumber(expires) then
  return 0
end
redis.call('SET', KEYS[3], ARGV[3], 'PX', ARGV[4])
redis.pcall('PUBLISH', KEYS[3], ARGV[3])
if fact == 'running' then
  redis.call('HSET', KEYS[2], ARGV[1], 'dropped')
  redis.call('HINCRBY', KEYS[1], 'running', -ARGV[2])
end
for _, name in ipairs({':by', ':open', ':failures', ':deliveries', ':condemned', ':at'}) do
  redis.call('HDEL', KEYS[2], ARGV[1] .. name)
end
redis.pcall('PUBLISH', '@CHANGES_CHANNEL@', ARGV[6])
return 1
