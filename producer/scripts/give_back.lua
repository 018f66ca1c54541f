-- A chunk goes back to the queue unfinished: it is no longer running.
-- KEYS: job record, chunk facts.
-- ARGV: chunk, seeds in the chunk, delivery, counts ('1' or '0'): whether this was a failure.
-- Returns 1, or 0 if this delivery does not run it (any more).
local chunk = ARGV[1]
local fact, by = unpack(redis.call('HMGET', KEYS[2], chunk, chunk .. ':by'))
if fact ~= 'running' or by ~= ARGV[3] then
  return 0
end
redis.call('HDEL', KEYS[2], chunk, chunk .. ':by', chunk .. ':at')
redis.call('HINCRBY', KEYS[2], chunk .. ':open', -1)
redis.call('HINCRBY', KEYS[2], chunk .. ':failures', ARGV[4])
redis.call('HINCRBY', KEYS[1], 'running', -ARGV[2])
return 1
