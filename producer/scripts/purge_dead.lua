-- Forget dead letters. KEYS: dead letters, their index. ARGV: ids; none for all. Returns how many are gone.
if #ARGV == 0 then
  local all = redis.call('ZCARD', KEYS[2])
  redis.call('DEL', KEYS[1], KEYS[2])
  return all
end
local gone = 0
for _, id in ipairs(ARGV) do
  gone = gone + redis.call('HDEL', KEYS[1], id)
  redis.call('ZREM', KEYS[2], id)
end
return gone
