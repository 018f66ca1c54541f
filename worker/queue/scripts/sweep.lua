-- Give back what workers hold whose lease has run out, and forget them; of many some, so that Redis is not kept busy.
-- KEYS: workers, facts of workers, first lane, other lanes... ARGV: prefix of the messages held, wake text, or a worker
-- id that leaves of itself.
-- Returns worker id and number of messages of each.
local time = redis.call('TIME')
local now = string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000))
local dead = ARGV[3] and {ARGV[3]} or redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', '(' .. now, 'LIMIT', 0, 20)
local swept = {}
for _, worker in ipairs(dead) do
  local messages = redis.call('HVALS', ARGV[1] .. worker)
  for _, value in ipairs(messages) do
    redis.call('RPUSH', KEYS[3 + string.sub(value, 1, 1)], string.sub(value, 2))
  end
  redis.call('DEL', ARGV[1] .. worker)
  redis.call('ZREM', KEYS[1], worker)
  redis.call('HDEL', KEYS[2], worker)
  swept[#swept + 1] = {worker, #messages}
  if #messages > 0 and redis.call('LLEN', KEYS[3]) == 0 then
    redis.call('RPUSH', KEYS[3], ARGV[2])
  end
end
return swept
