-- A manifest takes longer. KEYS: jobs whose manifest is to be written. ARGV: job id, claim, ms.
-- Returns the job's id and the new claim, or nothing if it is another's by now.
if redis.call('ZSCORE', KEYS[1], ARGV[1]) ~= ARGV[2] then
  return {}
end
local time = redis.call('TIME')
local claim = string.format('%.0f', math.max(ARGV[2] + 1, time[1] * 1000 + math.floor(time[2] / 1000) + ARGV[3]))
redis.call('ZADD', KEYS[1], claim, ARGV[1])
return {ARGV[1], claim}
