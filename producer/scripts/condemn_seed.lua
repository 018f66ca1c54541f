-- A seed has ended its worker too often: it is not tried again, the others of its chunk are.
-- KEYS: chunk facts. ARGV: chunk, seed, delivery. Returns 1, or 0 if this delivery does not run the chunk (any more).
local fact, by, condemned =
  unpack(redis.call('HMGET', KEYS[1], ARGV[1], ARGV[1] .. ':by', ARGV[1] .. ':condemned'))
if fact ~= 'running' or by ~= ARGV[3] then
  return 0
end
redis.call('HSET', KEYS[1], ARGV[1] .. ':condemned', (condemned or '') .. ARGV[2] .. ',')
redis.call('HDEL', KEYS[1], ARGV[1] .. ':at')
return 1
