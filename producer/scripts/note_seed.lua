-- A chunk that is run alone begins with a seed: should the worker end now, this seed is what it died at.
-- KEYS: chunk facts, workers. ARGV: chunk, seed, delivery, prefix of the messages held.
-- Returns how many workers in a row had died at it before; or -1 if another delivery has taken the chunk over.
local name = ARGV[1] .. ':at'
local fact, by, at = unpack(redis.call('HMGET', KEYS[1], ARGV[1], ARGV[1] .. ':by', name))
if fact ~= 'running' or by ~= ARGV[3] then
  return -1
end
local seed, died, last, worker = string.match(at or '', '^(%d+):(%d+):(' .. ARGV[4] .. '(.*) .*)$')
if seed ~= ARGV[2] then
  died = 0
elseif last ~= ARGV[3] and not redis.call('ZSCORE', KEYS[2], worker) then
  died = died + 1
end
redis.call('HSET', KEYS[1], name, string.format('%s:%d:%s', ARGV[2], died, ARGV[3]))
return tonumber(died)
