-- A chunk goes back to the queue unfinished: it is no longer running.
-- KEYS: job record, chunk facts.
-- ARGV: chunk, seeds in the chunk, delivery, counts ('1' or '0'): whether this was an attempt.
-- Returns 1, or 0 if this delivery does not run it (any more).
local chunk = ARGV[1]
local fact, by, attempts = unpack(redis.call('HMGET', KEYS[2], chunk, chunk .. ':by', chunk .. ':attempts'))
if fact ~= 'running' or by ~= ARGV[3] then
  return 0
end
redis.call('HDEL', KEYS[2], chunk, chunk .. ':by')
redis.call('HINCRBY', KEYS[1], 'running', -ARGV[2])
if ARGV[4] == '0' then
  redis.call('HSET', KEYS[2], chunk .. ':attempts', attempts - 1)
  redis.call('HDEL', KEYS[2], chunk .. ':at')
end
return 1
