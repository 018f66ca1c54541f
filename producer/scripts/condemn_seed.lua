-- A seed has ended its worker too often: it is not tried again, the others of its chunk are.
-- KEYS: chunk facts. ARGV: chunk, seed. Returns the condemned seeds.
local name = ARGV[1] .. ':condemned'
local condemned = (redis.call('HGET', KEYS[1], name) or '') .. ARGV[2] .. ','
redis.call('HSET', KEYS[1], name, condemned)
redis.call('HDEL', KEYS[1], ARGV[1] .. ':at')
return condemned
