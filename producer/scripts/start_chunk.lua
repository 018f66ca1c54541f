-- With change.lua.
-- A worker begins with a chunk that it has taken. Returns what to do; how many attempts ended without a word, and how
-- many were given back as failures; the deliveries so far, with this one; the seeds of it that were condemned, between
-- commas; the seed that the last attempt stopped at, with how many workers in a row died at it, as in '7:2', or '';
-- those of its seeds that should be published already, between commas; 1 if all are to be computed nevertheless; the
-- trace context that its job was submitted in, or ''; and whose job it is, or ''.
-- 'run'; 'suspect': an earlier attempt ended without a word, so ask again once nothing else is at work; 'done',
-- 'canceled', 'expired': it is not to be run; 'unknown': the message is none of that job's, or not of this queue; 'gone':
-- the worker does not hold the message any more, or its queue has another model by now; 'other': its job was begun with
-- another model, so it is begun in order to be failed.
-- KEYS: job record, chunk facts, seeds, active jobs, messages held, workers, queues.
-- ARGV: job id, chunk, seeds in the chunk, adopt ('1' or '0'), alone ('1' or '0'), lifetime ms, tombstone ms, packed
-- seeds, delivery, its tag, prefix of the messages held, prefix of the sets of published seeds, seeds in a set, queue,
-- the worker's model, seeds... adopt = '1': the message came from an app that wrote no record, so it is made here.
-- A delivery that asks again, because a reply was lost, is answered as before.
local served = redis.call('HGET', KEYS[7], ARGV[14])
local superseded = served and served ~= '@MIXED@' and served ~= ARGV[15]
if superseded or redis.call('HEXISTS', KEYS[5], ARGV[10]) == 0 then
  return {'gone', 0, 0, 0, '', '', '', 0, '', ''}
end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local stamp = string.format('%.0f', now)
if redis.call('EXISTS', KEYS[1]) == 0 then
  if ARGV[4] == '0' then
    return {'expired', 0, 0, 0, '', '', '', 0, '', ''}
  elseif ARGV[2] ~= '0' then
    return {'unknown', 0, 0, 0, '', '', '', 0, '', ''}
  end
  local keep = string.format('%.0f', ARGV[6] + ARGV[7])
  redis.call('DEL', KEYS[2])
  redis.call('HSET', KEYS[1], 'status', 'queued', 'total', ARGV[3], 'chunks', 1, 'chunk_size', ARGV[3],
    'priority', 'interactive', 'ttl_ms', ARGV[6], 'ended', 0, 'running', 0, 'succeeded', 0, 'failed', 0,
    'created_ms', stamp, 'expires_ms', string.format('%.0f', now + ARGV[6]))
  if not is_default(ARGV[14]) then
    redis.call('HSET', KEYS[1], 'queue', ARGV[14])
  end
  redis.call('PEXPIRE', KEYS[1], keep)
  redis.call('SET', KEYS[3], ARGV[8], 'PX', keep)
  redis.call('ZADD', KEYS[4], now, ARGV[1])
  redis.call('DEL', '@EVENTS_KEY_PREFIX@' .. ARGV[1])
  list(ARGV[1], '', now, tonumber(keep))
  changed(ARGV[1], 0, now)
end
local chunk, size = ARGV[2], tonumber(ARGV[3])
local status, expires, ttl, total, chunk_size, force, trace, tenant, queue, model = unpack(redis.call('HMGET', KEYS[1],
  'status', 'expires_ms', 'ttl_ms', 'total', 'chunk_size', 'force', 'trace', 'tenant', 'queue', 'model_id'))
local other = model and model ~= ARGV[15]
local begin = other and served ~= '@MIXED@' and 'other' or 'run'
local fact, by, open, failures, deliveries, condemned, at = unpack(redis.call('HMGET', KEYS[2], chunk, chunk .. ':by',
  chunk .. ':open', chunk .. ':failures', chunk .. ':deliveries', chunk .. ':condemned', chunk .. ':at'))
open, failures, deliveries = tonumber(open or 0), tonumber(failures or 0), tonumber(deliveries or 0)
local function published()
  local found = {}
  for i = 16, force == '1' and 0 or #ARGV do
    local block = math.floor(ARGV[i] / ARGV[13])
    if redis.call('SISMEMBER', ARGV[12] .. string.format('%.0f', block), ARGV[i] - block * ARGV[13]) == 1 then
      found[#found + 1] = ARGV[i]
    end
  end
  return table.concat(found, ',')
end
local function answer(verdict)
  local seed, died, worker = string.match(at or '', '^(%d+):(%d+):' .. ARGV[11] .. '(.*) ')
  if seed then
    seed = string.format('%s:%d', seed, died + (redis.call('ZSCORE', KEYS[6], worker) and 0 or 1))
  end
  local runs = verdict == 'run'
  return {verdict, runs and open - 1 or open, failures, deliveries, condemned or '', seed or '',
    runs and published() or '', force == '1' and 1 or 0, trace or '', tenant or ''}
end
if size ~= math.min(tonumber(chunk_size), total - chunk * chunk_size)
  or lane_key(queue, 0) ~= lane_key(ARGV[14], 0) then
  return answer('unknown')
elseif fact and fact ~= 'running' and fact ~= 'dropped' then
  return answer('done')
elseif status == 'canceled' then
  return answer('canceled')
elseif now >= tonumber(expires) then
  return answer('expired')
elseif fact == 'running' and by == ARGV[9] then
  return answer(begin)
elseif open > 0 and ARGV[5] == '0' and begin == 'run' then
  return answer('suspect')
end
open, deliveries = open + 1, deliveries + 1
local keep = string.format('%.0f', ttl + ARGV[7])
redis.call('HSET', KEYS[1], 'expires_ms', string.format('%.0f', now + ttl))
redis.call('PEXPIRE', KEYS[1], keep)
redis.call('PEXPIRE', KEYS[3], keep)
if fact ~= 'running' then
  redis.call('HINCRBY', KEYS[1], 'running', size)
end
redis.call('HSET', KEYS[2], chunk, 'running', chunk .. ':by', ARGV[9],
  chunk .. ':open', open, chunk .. ':deliveries', deliveries)
redis.call('PEXPIRE', KEYS[2], keep)
local before = open_seeds(ARGV[1])
if status == 'queued' then
  redis.call('HSET', KEYS[1], 'status', 'running', 'started_ms', stamp)
  if served == ARGV[15] then -- so that of no other's its results can be
    redis.call('HSET', KEYS[1], 'model_id', served)
  end
end
if other and begin == 'run' then -- of several from now on
  redis.call('HDEL', KEYS[1], 'model_id')
end
changed(ARGV[1], before, now, nil, status == 'queued' and 'running' or nil)
return answer(begin)
