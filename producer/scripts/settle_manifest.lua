-- A manifest has been written, or never can be. KEYS: jobs whose manifest is to be written, job record.
-- ARGV: job id, claim, address of the manifest or ''.
-- Returns 1, or 0 if it is another's by now: then it is due at once, since nobody can tell whose is the later one.
if redis.call('ZSCORE', KEYS[1], ARGV[1]) ~= ARGV[2] then
  if ARGV[3] ~= '' and redis.call('EXISTS', KEYS[2]) == 1 then
    local time = redis.call('TIME')
    redis.call('ZADD', KEYS[1], string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000)), ARGV[1])
  end
  return 0
end
redis.call('ZREM', KEYS[1], ARGV[1])
if ARGV[3] ~= '' and redis.call('EXISTS', KEYS[2]) == 1 then
  redis.call('HSET', KEYS[2], 'manifest_uri', ARGV[3])
end
return 1
