-- A chunk that is run alone begins with a seed: should the worker end now, this seed is what it stopped at.
-- KEYS: chunk facts, workers. ARGV: chunk, seed, delivery, prefix of the messages held.
-- Returns how many attempts in a row began with this seed and ended with their worker, with this one; or 0 if another
-- delivery has taken the chunk over.
local name = ARGV[1] .. ':at'
local fact, by, at = unpack(redis.call('HMGET', KEYS[1], ARGV[1], ARGV[1] .. ':by', name))
if fact ~= 'running' or by ~= ARGV[3] then
  return 0
end
local seed, tries, last = string.match(at or '', '^(%d+):(%d+):(.*)$')
if seed ~= ARGV[2] then
  tries = 1
elseif last ~= ARGV[3] then
  local worker = string.match(string.sub(last, #ARGV[4] + 1), '^(.*) ')
  tries = tries + (redis.call('ZSCORE', KEYS[2], worker) and 0 or 1)
end
redis.call('HSET', KEYS[1], name, string.format('%s:%d:%s', ARGV[2], tries, ARGV[3]))
return tonumber(tries)
