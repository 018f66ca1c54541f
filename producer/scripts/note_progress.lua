-- A chunk at its last attempt has got past the seed that it had stopped at: should it stop again, another seed is at work.
-- KEYS: chunk facts. ARGV: chunk, attempts that the chunk counts from now on. Returns 1, or 0 if it is not running.
if redis.call('HGET', KEYS[1], ARGV[1]) ~= 'running' then
  return 0
end
redis.call('HSET', KEYS[1], ARGV[1] .. ':attempts', ARGV[2])
return 1
