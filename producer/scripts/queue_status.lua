-- One look at the queue. KEYS: workers, facts of workers, active jobs, index of dead letters; lanes, the first one first;
-- of each lane the chunks behind its tickets. ARGV: prefix of the messages held, wake text, prefix of job records.
-- Returns messages waiting in each lane, messages held by workers, what the live workers say of themselves, active
-- jobs, the milliseconds since the oldest of them was made or -1, dead letters. A ticket is as many messages as its job
-- has chunks that are not sent yet; a job whose record has expired counts as active until the reconciler comes by.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local waiting, fixed = {}, 4
local lanes = (#KEYS - fixed) / 2
for lane = 1, lanes do
  local length = redis.call('LLEN', KEYS[fixed + lane])
  if lane == 1 and redis.call('LPOS', KEYS[fixed + 1], ARGV[2], 'RANK', -1, 'MAXLEN', 1000) then
    length = length - 1
  end
  for _, behind in ipairs(redis.call('HVALS', KEYS[fixed + lanes + lane])) do
    length = length + behind
  end
  waiting[lane] = length
end
local held, facts = 0, {}
for _, worker in ipairs(redis.call('ZRANGE', KEYS[1], 0, -1)) do
  held = held + redis.call('HLEN', ARGV[1] .. worker)
end
for _, worker in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], string.format('%.0f', now), '+inf')) do
  facts[#facts + 1] = redis.call('HGET', KEYS[2], worker)
end
local oldest, first = -1, redis.call('ZRANGE', KEYS[3], 0, 99, 'WITHSCORES')
for i = 1, #first, 2 do
  if redis.call('EXISTS', ARGV[3] .. first[i]) == 1 then
    oldest = math.max(0, now - first[i + 1])
    break
  end
end
return {waiting, held, facts, redis.call('ZCARD', KEYS[3]), oldest, redis.call('ZCARD', KEYS[4])}
