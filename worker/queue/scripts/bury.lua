-- Messages that are no chunks leave the messages held and become dead letters; those with an id get a Celery result,
-- unless that is the id of a job or of one of its chunks.
-- KEYS: messages held, dead letters, their index. ARGV: most dead letters, lifetime of results in ms, prefix of the
-- results, prefix of job records; then of each: tag, id of the letter, letter, task id or '', Celery result.
local time = redis.call('TIME')
local now = string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000))
for i = 5, #ARGV, 5 do
  local task, result = ARGV[i + 3], ARGV[i + 4]
  redis.call('HSET', KEYS[2], ARGV[i + 1], ARGV[i + 2])
  redis.call('ZADD', KEYS[3], now, ARGV[i + 1])
  local ours = redis.call('EXISTS', ARGV[4] .. task, ARGV[4] .. string.gsub(task, '%.%d+$', '')) > 0
  if task ~= '' and not ours and redis.call('SET', ARGV[3] .. task, result, 'NX', 'PX', ARGV[2]) then
    redis.pcall('PUBLISH', ARGV[3] .. task, result)
  end
  redis.call('HDEL', KEYS[1], ARGV[i])
end
for _, old in ipairs(redis.call('ZRANGE', KEYS[3], 0, -1 - ARGV[1])) do
  redis.call('HDEL', KEYS[2], old)
  redis.call('ZREM', KEYS[3], old)
end
return 1
