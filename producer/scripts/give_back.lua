-- A chunk goes back to the queue unfinished: it is no longer running.
-- KEYS: job record, chunk facts. ARGV: chunk, seeds in the chunk. Returns 1, or 0 if it was not running.
if redis.call('HGET', KEYS[2], ARGV[1]) ~= 'running' then
  return 0
end
redis.call('HDEL', KEYS[2], ARGV[1])
redis.call('HINCRBY', KEYS[1], 'running', -ARGV[2])
return 1
