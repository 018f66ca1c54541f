-- A manifest has been written, or never can be. KEYS: jobs whose manifest is to be written, job record.
-- ARGV: job id, claim, address of the manifest or ''.
-- Returns 1, or 0 if it is another's to write by now, or to be written again.
if redis.call('ZSCORE', KEYS[1], ARGV[1]) ~= ARGV[2] then
  return 0
end
redis.call('ZREM', KEYS[1], ARGV[1])
if ARGV[3] ~= '' and redis.call('EXISTS', KEYS[2]) == 1 then
  redis.call('HSET', KEYS[2], 'manifest_uri', ARGV[3])
end
return 1
