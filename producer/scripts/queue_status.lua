-- With names.lua.
-- One look at all queues. KEYS: queues, active jobs, index of dead letters, backlog. ARGV: prefix of the messages held,
-- wake text, prefix of job records, lanes of a queue.
-- Returns of each queue its name, its model or '', messages waiting in each lane, messages held by workers, what the live
-- workers say of themselves, and the seeds that have not ended; then active jobs, the milliseconds since the oldest of
-- them was made or -1, dead letters. A ticket is as many messages as its job has chunks that are not sent yet; a job whose
-- record has expired counts as active until the reconciler comes by. Queues that only jobs know are among them.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local active = redis.call('ZCARD', KEYS[2])

local function waiting_in(queue, lane)
  local length = redis.call('LLEN', lane_key(queue, lane))
  if lane == 0 and redis.call('LPOS', lane_key(queue, 0), ARGV[2], 'RANK', -1, 'MAXLEN', 1000) then
    length = length - 1
  end
  for _, behind in ipairs(redis.call('HVALS', behind_key(queue, lane))) do
    length = length + behind
  end
  return length
end

local function look(queue, seeds)
  local waiting, held, facts = {}, 0, {}
  for lane = 0, ARGV[4] - 1 do
    waiting[1 + lane] = waiting_in(queue, lane)
  end
  local workers = own_key(queue, 'workers')
  for _, worker in ipairs(redis.call('ZRANGE', workers, 0, -1)) do
    held = held + redis.call('HLEN', ARGV[1] .. worker)
  end
  for _, worker in ipairs(redis.call('ZRANGEBYSCORE', workers, string.format('%.0f', now), '+inf')) do
    facts[#facts + 1] = redis.call('HGET', own_key(queue, 'worker-facts'), worker) or ''
  end
  return {queue, redis.call('HGET', KEYS[1], queue) or '', waiting, held, facts, active > 0 and math.max(0, seeds) or 0}
end

local left = tonumber(redis.call('HGET', KEYS[4], 'seeds') or 0)
local queues = {}
local backlog, names = redis.call('HGETALL', '@BACKLOG_QUEUES_KEY@'), {}
for _, queue in ipairs(redis.call('HKEYS', KEYS[1])) do
  names[queue] = 0
end
for place = 1, active > 0 and #backlog or 0, 2 do
  local seeds = tonumber(backlog[place + 1])
  names[backlog[place]] = (seeds > 0 or names[backlog[place]]) and seeds or nil
end
for queue, seeds in pairs(names) do
  if not is_default(queue) then
    queues[#queues + 1] = look(queue, seeds)
    left = left - seeds
  end
end
table.insert(queues, 1, look('@DEFAULT_QUEUE@', left))
local oldest, first = -1, redis.call('ZRANGE', KEYS[2], 0, 99, 'WITHSCORES')
for i = 1, #first, 2 do
  if redis.call('EXISTS', ARGV[3] .. first[i]) == 1 then
    oldest = math.max(0, now - first[i + 1])
    break
  end
end
return {queues, active, oldest, redis.call('ZCARD', KEYS[3])}
