-- With change.lua.
-- A dead letter goes back to the queue.
-- KEYS: dead letters, their index, job record, chunk facts, active jobs, Celery result, seeds, jobs whose manifest is to
-- be written, queues. ARGV: id of the letter, message, queue, job id or '' for a message that was no chunk, chunk,
-- tombstone ms, number of the lane.
-- Returns 1 if it was enqueued, 0 if there is no such letter, -1 if its job has expired (also if another has its id now),
-- -2 if it was cancelled, -3 if the queue has another model by now than the one that the job was begun with, -4 if the
-- queue is not known (any more).
if redis.call('HEXISTS', KEYS[1], ARGV[1]) == 0 then
  return 0
end
local served = redis.call('HGET', KEYS[9], ARGV[3])
if not served and not is_default(ARGV[3]) then
  return -4
end
if ARGV[4] ~= '' then
  local time = redis.call('TIME')
  local now = time[1] * 1000 + math.floor(time[2] / 1000)
  local status, expires, ttl, model =
    unpack(redis.call('HMGET', KEYS[3], 'status', 'expires_ms', 'ttl_ms', 'model_id'))
  if not status or now >= tonumber(expires) then
    return -1
  elseif status == 'canceled' then
    return -2
  end
  if model and served and served ~= '@MIXED@' and served ~= model then
    return -3
  end
  local succeeded, failed = string.match(redis.call('HGET', KEYS[4], ARGV[5]) or '', '^failed:(%d+):(%d+)$')
  if not succeeded then
    return -1
  end
  local before = open_seeds(ARGV[4])
  redis.call('HSET', KEYS[3], 'expires_ms', string.format('%.0f', now + ttl))
  for _, key in ipairs({KEYS[3], KEYS[4], KEYS[7]}) do
    redis.call('PEXPIRE', key, string.format('%.0f', ttl + ARGV[6]))
  end
  local good = redis.call('HINCRBY', KEYS[3], 'succeeded', 0 - succeeded)
  local bad = redis.call('HINCRBY', KEYS[3], 'failed', 0 - failed)
  redis.call('HINCRBY', KEYS[3], 'ended', -1)
  local mark = string.format('%.0f:%.0f', now, good + bad)
  redis.call('HSET', KEYS[3], 'status', 'running', 'mark', mark, 'newest_mark', mark)
  redis.call('HDEL', KEYS[3], 'completed_ms', 'manifest_uri')
  redis.call('ZREM', KEYS[8], ARGV[4])
  redis.call('HDEL', KEYS[4], ARGV[5])
  redis.call('DEL', KEYS[6])
  redis.call('ZADD', KEYS[5], now, ARGV[4])
  redis.call('ZREM', '@WEBHOOKS_KEY@', ARGV[4])
  changed(ARGV[4], before, now, nil, status ~= 'running' and 'running' or nil)
end
redis.call('LPUSH', lane_key(ARGV[3], ARGV[7]), ARGV[2])
wake(ARGV[3])
redis.call('HDEL', KEYS[1], ARGV[1])
redis.call('ZREM', KEYS[2], ARGV[1])
return 1
