-- A chunk has ended: store its Celery result and count its seeds, once, in one step.
-- KEYS: job record, chunk facts, Celery result. ARGV: chunk, succeeded, failed, Celery result text, lifetime ms, tombstone ms.
-- Returns 1 if this call counted, 0 if the chunk had been counted before (a redelivery: the first result stays).
if redis.call('HGET', KEYS[2], ARGV[1]) == 'done' then
  return 0
end
local ttl = redis.call('HGET', KEYS[1], 'ttl_ms') or ARGV[5]
redis.call('SET', KEYS[3], ARGV[4], 'PX', ttl)
redis.call('PUBLISH', KEYS[3], ARGV[4])
if redis.call('EXISTS', KEYS[1]) == 0 then
  return 1
end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local keep = string.format('%.0f', ttl + ARGV[6])
if redis.call('HGET', KEYS[2], ARGV[1]) == 'running' then
  redis.call('HINCRBY', KEYS[1], 'running', -(ARGV[2] + ARGV[3]))
end
redis.call('HSET', KEYS[2], ARGV[1], 'done')
redis.call('HINCRBY', KEYS[1], 'succeeded', ARGV[2])
redis.call('HINCRBY', KEYS[1], 'failed', ARGV[3])
redis.call('HSET', KEYS[1], 'expires_ms', string.format('%.0f', now + ttl))
redis.call('PEXPIRE', KEYS[1], keep)
redis.call('PEXPIRE', KEYS[2], keep)
local status, total, succeeded, failed = unpack(redis.call('HMGET', KEYS[1], 'status', 'total', 'succeeded', 'failed'))
if (status == 'queued' or status == 'running') and succeeded + failed >= tonumber(total) then
  local final = tonumber(failed) > 0 and 'failed' or 'succeeded'
  redis.call('HSET', KEYS[1], 'status', final, 'completed_ms', string.format('%.0f', now))
end
return 1
