-- A seed ended its worker too often: it is not tried again, the others of its chunk are.
-- KEYS: chunk facts. ARGV: chunk, seed, attempts that the chunk counts from now on. Returns the condemned seeds.
local name = ARGV[1] .. ':condemned'
local condemned = (redis.call('HGET', KEYS[1], name) or '') .. ARGV[2] .. ','
redis.call('HSET', KEYS[1], name, condemned, ARGV[1] .. ':attempts', ARGV[3])
return condemned
