-- With names.lua.
-- A queue that nobody serves and that has nothing to do is known no more. KEYS: queues, active jobs, backlog of queues.
-- ARGV: queue, lanes, prefix of job records, wake text.
-- Returns 1, 0 if there is no such queue, -1 if workers serve it, -2 if it has jobs or messages, -3 if workers that are
-- gone hold messages, which only one of the queue gives back.
local queue, workers = ARGV[1], own_key(ARGV[1], 'workers')
if redis.call('HEXISTS', KEYS[1], queue) == 0 then
  return 0
end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
if redis.call('ZCOUNT', workers, string.format('%.0f', now), '+inf') > 0 then
  return -1
end
for _, worker in ipairs(redis.call('ZRANGE', workers, 0, -1)) do
  if redis.call('EXISTS', '@HELD_KEY_PREFIX@' .. worker) == 1 then
    return -3
  end
end
for _, job in ipairs(redis.call('ZRANGE', KEYS[2], 0, -1)) do
  if redis.call('HGET', ARGV[3] .. job, 'queue') == queue then
    return -2
  end
end
redis.call('LREM', lane_key(queue, 0), 0, ARGV[4])
for lane = 0, ARGV[2] - 1 do
  if redis.call('EXISTS', lane_key(queue, lane)) == 1 then
    return -2
  end
end
for lane = 0, ARGV[2] - 1 do
  redis.call('DEL', behind_key(queue, lane))
end
redis.call('DEL', workers, own_key(queue, 'worker-facts'))
redis.call('HDEL', KEYS[1], queue)
redis.call('HDEL', KEYS[3], queue)
return 1
