-- A worker has taken a chunk. Returns what to do with it: 'run', 'done', 'canceled', 'expired' or 'unknown'.
-- KEYS: job record, chunk facts. ARGV: chunk, seeds in the chunk, adopt ('1' or '0'), lifetime ms, tombstone ms.
-- adopt = '1': the message came from an app that wrote no record, so it is made here.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local stamp = string.format('%.0f', now)
if redis.call('EXISTS', KEYS[1]) == 0 then
  if ARGV[3] == '0' then
    return 'expired'
  elseif ARGV[1] ~= '0' then
    return 'unknown'
  end
  redis.call('HSET', KEYS[1], 'status', 'queued', 'total', ARGV[2], 'chunks', 1, 'ttl_ms', ARGV[4],
    'running', 0, 'succeeded', 0, 'failed', 0,
    'created_ms', stamp, 'expires_ms', string.format('%.0f', now + ARGV[4]))
  redis.call('PEXPIRE', KEYS[1], string.format('%.0f', ARGV[4] + ARGV[5]))
end
local status, expires, ttl, chunks = unpack(redis.call('HMGET', KEYS[1], 'status', 'expires_ms', 'ttl_ms', 'chunks'))
local fact = redis.call('HGET', KEYS[2], ARGV[1])
if tonumber(ARGV[1]) >= tonumber(chunks) then
  return 'unknown'
elseif fact == 'done' then
  return 'done'
elseif status == 'canceled' then
  return 'canceled'
elseif now >= tonumber(expires) then
  return 'expired'
end
local keep = string.format('%.0f', ttl + ARGV[5])
redis.call('HSET', KEYS[1], 'expires_ms', string.format('%.0f', now + ttl))
redis.call('PEXPIRE', KEYS[1], keep)
if fact ~= 'running' then
  redis.call('HSET', KEYS[2], ARGV[1], 'running')
  redis.call('HINCRBY', KEYS[1], 'running', ARGV[2])
end
redis.call('PEXPIRE', KEYS[2], keep)
if status == 'queued' then
  redis.call('HSET', KEYS[1], 'status', 'running', 'started_ms', stamp)
end
return 'run'
