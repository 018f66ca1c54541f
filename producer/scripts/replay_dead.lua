-- With change.lua.
-- A dead letter goes back to the queue.
-- KEYS: dead letters, their index, first lane, lane of the message, job record, chunk facts, active jobs, Celery result,
-- seeds, jobs whose manifest is to be written. ARGV: id of the letter, message, wake text, job id or '' for a message that
-- was no chunk, chunk, tombstone ms.
-- Returns 1 if it was enqueued, 0 if there is no such letter, -1 if its job has expired (also if another has its id now),
-- -2 if it was cancelled.
if redis.call('HEXISTS', KEYS[1], ARGV[1]) == 0 then
  return 0
end
if ARGV[4] ~= '' then
  local time = redis.call('TIME')
  local now = time[1] * 1000 + math.floor(time[2] / 1000)
  local status, expires, ttl = unpack(redis.call('HMGET', KEYS[5], 'status', 'expires_ms', 'ttl_ms'))
  if not status or now >= tonumber(expires) then
    return -1
  elseif status == 'canceled' then
    return -2
  end
  local succeeded, failed = string.match(redis.call('HGET', KEYS[6], ARGV[5]) or '', '^failed:(%d+):(%d+)$')
  if not succeeded then
    return -1
  end
  local before = open_seeds(ARGV[4])
  redis.call('HSET', KEYS[5], 'expires_ms', string.format('%.0f', now + ttl))
  for _, key in ipairs({KEYS[5], KEYS[6], KEYS[9]}) do
    redis.call('PEXPIRE', key, string.format('%.0f', ttl + ARGV[6]))
  end
  local good = redis.call('HINCRBY', KEYS[5], 'succeeded', 0 - succeeded)
  local bad = redis.call('HINCRBY', KEYS[5], 'failed', 0 - failed)
  redis.call('HINCRBY', KEYS[5], 'ended', -1)
  local mark = string.format('%.0f:%.0f', now, good + bad)
  redis.call('HSET', KEYS[5], 'status', 'running', 'mark', mark, 'newest_mark', mark)
  redis.call('HDEL', KEYS[5], 'completed_ms', 'manifest_uri')
  redis.call('ZREM', KEYS[10], ARGV[4])
  redis.call('HDEL', KEYS[6], ARGV[5])
  redis.call('DEL', KEYS[8])
  redis.call('ZADD', KEYS[7], now, ARGV[4])
  redis.call('ZREM', '@WEBHOOKS_KEY@', ARGV[4])
  changed(ARGV[4], before, now, nil, status ~= 'running' and 'running' or nil)
end
redis.call('LPUSH', KEYS[4], ARGV[2])
if redis.call('LLEN', KEYS[3]) == 0 then
  redis.call('RPUSH', KEYS[3], ARGV[3])
end
redis.call('HDEL', KEYS[1], ARGV[1])
redis.call('ZREM', KEYS[2], ARGV[1])
return 1
