-- Messages go back to the end of their lanes that is taken from. KEYS: messages held, first lane, other lanes...
-- ARGV: wake text, tags... Returns how many went back.
local returned = 0
for i = #ARGV, 2, -1 do
  local value = redis.call('HGET', KEYS[1], ARGV[i])
  if value then
    redis.call('RPUSH', KEYS[2 + string.sub(value, 1, 1)], string.sub(value, 2))
    redis.call('HDEL', KEYS[1], ARGV[i])
    returned = returned + 1
  end
end
if returned > 0 and redis.call('LLEN', KEYS[2]) == 0 then
  redis.call('RPUSH', KEYS[2], ARGV[1])
end
return returned
