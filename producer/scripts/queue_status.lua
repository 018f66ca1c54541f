-- One look at the queue. KEYS: workers, facts of workers, lanes... ARGV: prefix of the messages held, wake text.
-- Returns messages waiting in each lane, messages held by workers, what the live workers say of themselves.
local time = redis.call('TIME')
local now = string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000))
local waiting = {}
for lane = 3, #KEYS do
  local length = redis.call('LLEN', KEYS[lane])
  if lane == 3 and length > 0 and redis.call('LINDEX', KEYS[lane], -1) == ARGV[2] then
    length = length - 1
  end
  waiting[#waiting + 1] = length
end
local held, facts = 0, {}
for _, worker in ipairs(redis.call('ZRANGE', KEYS[1], 0, -1)) do
  held = held + redis.call('HLEN', ARGV[1] .. worker)
end
for _, worker in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], now, '+inf')) do
  facts[#facts + 1] = redis.call('HGET', KEYS[2], worker)
end
return {waiting, held, facts}
