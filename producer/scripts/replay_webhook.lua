-- A webhook that was given up is due again. KEYS: dead letters, their index, jobs whose webhook is due, job record.
-- ARGV: id of the dead letter, job id. Returns 1, 0 if there is no such letter, -1 if its job has no record any more.
if redis.call('HEXISTS', KEYS[1], ARGV[1]) == 0 then
  return 0
end
if redis.call('EXISTS', KEYS[4]) == 0 then
  return -1
end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('ZADD', KEYS[3], string.format('%.0f', now), ARGV[2])
redis.call('HDEL', KEYS[4], 'webhook_attempts')
redis.call('HDEL', KEYS[1], ARGV[1])
redis.call('ZREM', KEYS[2], ARGV[1])
return 1
