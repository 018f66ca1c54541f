-- A chunk has ended: store its Celery result and count its seeds, once, in one step.
-- KEYS: job record, chunk facts, Celery result.
-- ARGV: chunk, succeeded, failed, Celery result text, lifetime ms, tombstone ms.
-- Returns 1 if this call counted, 0 if the chunk had been counted before (a redelivery: the first result stays).
local fact = redis.call('HGET', KEYS[2], ARGV[1])
if fact == 'done' then
  return 0
end
local ttl = redis.call('HGET', KEYS[1], 'ttl_ms') or ARGV[5]
local keep = string.format('%.0f', ttl + ARGV[6])
redis.call('SET', KEYS[3], ARGV[4], 'PX', keep)
redis.call('PUBLISH', KEYS[3], ARGV[4])
if redis.call('EXISTS', KEYS[1]) == 0 then
  return 1
end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
if fact == 'running' then
  redis.call('HINCRBY', KEYS[1], 'running', -(ARGV[2] + ARGV[3]))
end
redis.call('HSET', KEYS[2], ARGV[1], 'done')
redis.call('HINCRBY', KEYS[1], 'succeeded', ARGV[2])
redis.call('HINCRBY', KEYS[1], 'failed', ARGV[3])
redis.call('HSET', KEYS[1], 'expires_ms', string.format('%.0f', now + ttl))
redis.call('PEXPIRE', KEYS[1], keep)
redis.call('PEXPIRE', KEYS[2], keep)
local status, total, succeeded, failed, chunks =
  unpack(redis.call('HMGET', KEYS[1], 'status', 'total', 'succeeded', 'failed', 'chunks'))
if succeeded + failed < tonumber(total) then
  return 1
end
if status == 'queued' or status == 'running' then
  local final = tonumber(failed) > 0 and 'failed' or 'succeeded'
  redis.call('HSET', KEYS[1], 'status', final, 'completed_ms', string.format('%.0f', now))
end
-- The results of the first chunks live as long as that of the last.
local base = tonumber(chunks) > 1 and string.sub(KEYS[3], 1, -(#ARGV[1] + 1))
for chunk = 0, base and chunks - 1 or -1 do
  redis.call('PEXPIRE', base .. string.format('%.0f', chunk), keep)
end
return 1
