-- With change.lua.
-- Cancel a job that has not ended, and take its ticket out of its lane.
-- KEYS: job record, seeds, active jobs, Celery result of a job of one chunk. ARGV: job id, ticket, text of that result.
-- Returns 1 if it was cancelled, 0 if it had ended, -1 if unknown.
local status, sent, chunks, lane, ttl, tenant, queue =
  unpack(redis.call('HMGET', KEYS[1], 'status', 'sent', 'chunks', 'lane', 'ttl_ms', 'tenant', 'queue'))
if not status then
  return -1
elseif status ~= 'queued' and status ~= 'running' then
  return 0
end
local time, before = redis.call('TIME'), open_seeds(ARGV[1])
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('DEL', KEYS[2]) -- first, since that works also where memory is short
redis.call('HSET', KEYS[1], 'status', 'canceled',
  'completed_ms', string.format('%.0f', now))
redis.call('ZREM', KEYS[3], ARGV[1])
if sent and tonumber(sent) < tonumber(chunks) then
  redis.call('LREM', ticket_list(queue, lane, tenant or ''), 0, ARGV[2])
  redis.call('HDEL', behind_key(queue, lane), ARGV[1])
  count_turn(queue, lane, tenant or '')
  -- Of what was sent whoever takes it writes the Celery result; of this nobody would.
  if chunks == '1' then
    redis.call('SET', KEYS[4], ARGV[3], 'PX', ttl)
    redis.pcall('PUBLISH', KEYS[4], ARGV[3])
  end
end
changed(ARGV[1], before, now, nil, 'canceled')
return 1
