-- A chunk that nobody wants any more is not run: store why, unless it has a result.
-- KEYS: job record, chunk facts, Celery result. ARGV: chunk, seeds in the chunk, Celery result text, lifetime ms.
-- Returns 1 if the reason was stored, 0 if the chunk had ended before.
local fact = redis.call('HGET', KEYS[2], ARGV[1])
if fact == 'done' then
  return 0
end
redis.call('SET', KEYS[3], ARGV[3], 'PX', ARGV[4])
redis.call('PUBLISH', KEYS[3], ARGV[3])
if fact == 'running' then
  redis.call('HSET', KEYS[2], ARGV[1], 'dropped')
  redis.call('HINCRBY', KEYS[1], 'running', -ARGV[2])
end
return 1
