-- A delivery has ended. KEYS: jobs whose webhook is due, job record, dead letters, their index.
-- ARGV: job id, claim; 'done', or 'retry', ms until then and what the record notes of the attempts, or 'dead', id of the
-- dead letter, its text and how many are kept.
-- Returns 1, or 0 if it is another's by now, or the job has ended again since.
if redis.call('ZSCORE', KEYS[1], ARGV[1]) ~= ARGV[2] then
  return 0
end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
if ARGV[3] == 'retry' then
  redis.call('ZADD', KEYS[1], string.format('%.0f', now + ARGV[4]), ARGV[1])
  if redis.call('EXISTS', KEYS[2]) == 1 then
    redis.call('HSET', KEYS[2], 'webhook_attempts', ARGV[5])
  end
  return 1
end
if ARGV[3] == 'dead' then
  redis.call('HSET', KEYS[3], ARGV[4], ARGV[5])
  redis.call('ZADD', KEYS[4], string.format('%.0f', now), ARGV[4])
  for _, old in ipairs(redis.call('ZRANGE', KEYS[4], 0, -1 - ARGV[6])) do
    redis.call('HDEL', KEYS[3], old)
    redis.call('ZREM', KEYS[4], old)
  end
end
redis.call('ZREM', KEYS[1], ARGV[1])
redis.call('HDEL', KEYS[2], 'webhook_attempts')
return 1
