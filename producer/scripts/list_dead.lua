-- Dead letters, newest first. KEYS: dead letters, their index. ARGV: how many at most, id or '' for all.
-- Returns how many there are in all, then the letters.
if ARGV[2] ~= '' then
  return {redis.call('ZCARD', KEYS[2]), redis.call('HGET', KEYS[1], ARGV[2]) or ''}
end
local found = {redis.call('ZCARD', KEYS[2])}
for _, id in ipairs(redis.call('ZREVRANGE', KEYS[2], 0, ARGV[1] - 1)) do
  found[#found + 1] = redis.call('HGET', KEYS[1], id) or ''
end
return found
