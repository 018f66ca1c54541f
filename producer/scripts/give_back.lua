-- A chunk goes back to the queue unfinished: it is no longer running.
-- KEYS: job record, chunk facts. ARGV: chunk, seeds in the chunk, counts ('1' or '0'): whether this was an attempt.
-- Returns 1, or 0 if it was not running.
if redis.call('HGET', KEYS[2], ARGV[1]) ~= 'running' then
  return 0
end
redis.call('HDEL', KEYS[2], ARGV[1])
redis.call('HINCRBY', KEYS[1], 'running', -ARGV[2])
if ARGV[3] == '0' and tonumber(redis.call('HGET', KEYS[2], ARGV[1] .. ':attempts') or 0) > 0 then
  redis.call('HINCRBY', KEYS[2], ARGV[1] .. ':attempts', -1)
end
return 1
