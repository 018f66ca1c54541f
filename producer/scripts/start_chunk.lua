-- A worker begins with a chunk that it has taken. Returns what to do, the attempts so far and the deliveries so far,
-- these two included; and the seeds of it that were condemned, between commas.
-- 'run'; 'suspect': an earlier attempt ended without a word, so ask again once nothing else is at work; 'exhausted':
-- it did so too often; 'done', 'canceled', 'expired', 'unknown': it is not to be run.
-- KEYS: job record, chunk facts, seeds, active jobs.
-- ARGV: job id, chunk, seeds in the chunk, adopt ('1' or '0'), alone ('1' or '0'), most attempts, lifetime ms,
-- tombstone ms, packed seeds. adopt = '1': the message came from an app that wrote no record, so it is made here.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local stamp = string.format('%.0f', now)
if redis.call('EXISTS', KEYS[1]) == 0 then
  if ARGV[4] == '0' then
    return {'expired', 0, 0, ''}
  elseif ARGV[2] ~= '0' then
    return {'unknown', 0, 0, ''}
  end
  local keep = string.format('%.0f', ARGV[7] + ARGV[8])
  redis.call('HSET', KEYS[1], 'status', 'queued', 'total', ARGV[3], 'chunks', 1, 'chunk_size', ARGV[3],
    'priority', 'interactive', 'ttl_ms', ARGV[7], 'ended', 0, 'running', 0, 'succeeded', 0, 'failed', 0,
    'created_ms', stamp, 'expires_ms', string.format('%.0f', now + ARGV[7]))
  redis.call('PEXPIRE', KEYS[1], keep)
  redis.call('SET', KEYS[3], ARGV[9], 'PX', keep)
  redis.call('ZADD', KEYS[4], now, ARGV[1])
end
local chunk, size = ARGV[2], ARGV[3]
local status, expires, ttl, chunks = unpack(redis.call('HMGET', KEYS[1], 'status', 'expires_ms', 'ttl_ms', 'chunks'))
local fact, attempts, deliveries, condemned = unpack(redis.call('HMGET', KEYS[2],
  chunk, chunk .. ':attempts', chunk .. ':deliveries', chunk .. ':condemned'))
attempts, deliveries, condemned = tonumber(attempts or 0), tonumber(deliveries or 0), condemned or ''
if tonumber(chunk) >= tonumber(chunks) then
  return {'unknown', attempts, deliveries, condemned}
elseif fact and fact ~= 'running' and fact ~= 'dropped' then
  return {'done', attempts, deliveries, condemned}
elseif status == 'canceled' then
  return {'canceled', attempts, deliveries, condemned}
elseif now >= tonumber(expires) then
  return {'expired', attempts, deliveries, condemned}
elseif attempts > 0 and ARGV[5] == '0' then
  return {'suspect', attempts, deliveries, condemned}
end
local verdict = attempts < tonumber(ARGV[6]) and 'run' or 'exhausted'
attempts, deliveries = attempts + (verdict == 'run' and 1 or 0), deliveries + 1
local keep = string.format('%.0f', ttl + ARGV[8])
redis.call('HSET', KEYS[1], 'expires_ms', string.format('%.0f', now + ttl))
redis.call('PEXPIRE', KEYS[1], keep)
redis.call('PEXPIRE', KEYS[3], keep)
if fact ~= 'running' then
  redis.call('HINCRBY', KEYS[1], 'running', size)
end
redis.call('HSET', KEYS[2], chunk, 'running', chunk .. ':attempts', attempts, chunk .. ':deliveries', deliveries)
redis.call('PEXPIRE', KEYS[2], keep)
if status == 'queued' then
  redis.call('HSET', KEYS[1], 'status', 'running', 'started_ms', stamp)
end
return {verdict, attempts, deliveries, condemned}
