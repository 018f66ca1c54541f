-- One look at the queue. KEYS: workers, facts of workers; lanes, the first one first; of each lane the chunks behind its
-- tickets. ARGV: prefix of the messages held, wake text.
-- Returns messages waiting in each lane, messages held by workers, what the live workers say of themselves. A ticket is
-- as many messages as its job has chunks that are not sent yet.
local time = redis.call('TIME')
local now = string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000))
local waiting, lanes = {}, (#KEYS - 2) / 2
for lane = 1, lanes do
  local length = redis.call('LLEN', KEYS[2 + lane])
  if lane == 1 and redis.call('LPOS', KEYS[3], ARGV[2], 'RANK', -1, 'MAXLEN', 1000) then
    length = length - 1
  end
  for _, behind in ipairs(redis.call('HVALS', KEYS[2 + lanes + lane])) do
    length = length + behind
  end
  waiting[lane] = length
end
local held, facts = 0, {}
for _, worker in ipairs(redis.call('ZRANGE', KEYS[1], 0, -1)) do
  held = held + redis.call('HLEN', ARGV[1] .. worker)
end
for _, worker in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], now, '+inf')) do
  facts[#facts + 1] = redis.call('HGET', KEYS[2], worker)
end
return {waiting, held, facts}
