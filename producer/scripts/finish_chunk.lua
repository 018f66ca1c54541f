-- With change.lua.
-- A chunk has ended: store its Celery result, count its seeds, keep a dead letter of those that failed, and
-- acknowledge the message, all in one step.
-- KEYS: job record, chunk facts, Celery result, seeds, active jobs, messages held, dead letters, their index, jobs whose
-- manifest is to be written, pictures, gallery.
-- ARGV: job id, chunk, seeds in the chunk, succeeded, failed, Celery result text, lifetime ms, tombstone ms,
-- delivery tag, task id, dead letter or '', most dead letters, delivery, prefix of the sets of published seeds, seeds in
-- a set, most pictures in the gallery, model id, each seed that is published now and what is told of its picture...
-- Succeeded and failed are fewer if the job was cancelled.
-- Returns 1 if this call counted, 0 if not: a success counts whoever brings it, unless there was one before; everything
-- else only from the delivery that runs the chunk, since others try again what had failed. Returns -1 if nobody seems to
-- run it: then the message is not acknowledged, and has to go back.

-- Put pictures into a gallery, those that are not in it: no score is given twice, nor one below another. Returns how
-- many came. Beyond "most" the oldest go, a part at a time where there are many; returns their names too.
local function show(gallery, names, now_us, most)
  local newest = redis.call('ZRANGE', gallery, -1, -1, 'WITHSCORES')[2]
  local first, args = math.max(now_us, (newest or 0) + 1), {}
  for place, name in ipairs(names) do
    args[2 * place - 1], args[2 * place] = string.format('%.0f', first + place - 1), name
  end
  local came, gone = redis.call('ZADD', gallery, 'NX', unpack(args)), {}
  local beyond = math.min(redis.call('ZCARD', gallery) - most, 2000)
  if beyond > 0 then
    local oldest = redis.call('ZPOPMIN', gallery, beyond)
    for place = 1, #oldest, 2 do
      gone[#gone + 1] = oldest[place]
    end
  end
  return came, gone
end

-- Put into the gallery what was published, and into that of the tenant who asked for it.
local function show_all(names, told, now_us, most, tenant)
  local new, facts = {}, {}
  for place, score in ipairs(redis.call('ZMSCORE', KEYS[11], unpack(names))) do
    if not score then
      new[#new + 1] = names[place]
      facts[#facts + 1], facts[#facts + 2] = names[place], told[place]
    end
  end
  if #new > 0 then
    redis.call('HSET', KEYS[10], unpack(facts))
    local _, gone = show(KEYS[11], new, now_us, most)
    if #gone > 0 then
      redis.call('HDEL', KEYS[10], unpack(gone))
    end
  end
  local own = '@GALLERY_KEY_PREFIX@' .. tenant
  if tenant ~= '' and show(own, names, now_us, math.min(most, @MAX_TENANT_PICTURES@)) > 0 then
    redis.call('PEXPIRE', own, @TENANT_GALLERY_DAYS@ * 24 * 3600 * 1000)
  end
end

local chunk, size, succeeded, failed = ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local status, total, chunk_size, ttl, expires, tenant =
  unpack(redis.call('HMGET', KEYS[1], 'status', 'total', 'chunk_size', 'ttl_ms', 'expires_ms', 'tenant'))
local fact, by = unpack(redis.call('HMGET', KEYS[2], chunk, chunk .. ':by'))
local before = {string.match(fact or '', '^failed:(%d+):(%d+)$')}
local foreign = total and size ~= math.min(tonumber(chunk_size), total - chunk * chunk_size)
local partial = succeeded + failed < size and status ~= 'canceled'
local open = total and open_seeds(ARGV[1]) or 0
local ended, whole = fact == 'done' or before[1], succeeded == size
local mine = fact == 'running' and by == ARGV[13]
if not (whole or ended or foreign) and (fact ~= 'running' or (mine and partial)) then
  return -1
end
redis.call('HDEL', KEYS[6], ARGV[9])
if fact == 'done' or foreign or not (whole or (mine and not partial)) then
  return 0
end
ttl = ttl or ARGV[7]
local keep = string.format('%.0f', ttl + ARGV[8])
redis.call('SET', KEYS[3], ARGV[6], 'PX', keep)
redis.pcall('PUBLISH', KEYS[3], ARGV[6])
if ARGV[11] ~= '' then
  redis.call('HSET', KEYS[7], ARGV[10], ARGV[11])
  redis.call('ZADD', KEYS[8], now, ARGV[10])
  for _, old in ipairs(redis.call('ZRANGE', KEYS[8], 0, -1 - ARGV[12])) do
    redis.call('HDEL', KEYS[7], old)
    redis.call('ZREM', KEYS[8], old)
  end
elseif before[1] then
  redis.call('HDEL', KEYS[7], ARGV[10])
  redis.call('ZREM', KEYS[8], ARGV[10])
end
local names, told, most = {}, {}, tonumber(ARGV[16])
for i = 18, #ARGV, 2 do
  local block = math.floor(ARGV[i] / ARGV[15])
  local key = ARGV[14] .. string.format('%.0f', block)
  redis.call('SADD', key, string.format('%.0f', ARGV[i] - block * ARGV[15]))
  redis.call('PEXPIRE', key, keep)
  if most > 0 then
    names[#names + 1], told[#told + 1] = ARGV[17] .. ':' .. ARGV[i], ARGV[i + 1]
  end
end
if #names > 0 then
  -- The gallery is an index that may be lost: nothing that is wrong with it keeps a chunk from being counted.
  local ok, wrong = pcall(show_all, names, told, time[1] * 1000000 + time[2], most, tenant or '')
  if not ok then
    redis.log(redis.LOG_WARNING, 'seedmill: pictures are not listed: ' .. tostring(wrong.err or wrong))
  end
end
if not total then
  return 1
end
if fact == 'running' then
  redis.call('HINCRBY', KEYS[1], 'running', -size)
end
if not before[1] then
  redis.call('HINCRBY', KEYS[1], 'ended', 1)
end
redis.call('HSET', KEYS[2], chunk, failed == 0 and 'done' or ('failed:' .. ARGV[4] .. ':' .. ARGV[5]))
for _, name in ipairs({':by', ':open', ':failures', ':deliveries', ':condemned', ':at'}) do
  redis.call('HDEL', KEYS[2], chunk .. name)
end
redis.call('HINCRBY', KEYS[1], 'succeeded', succeeded - (before[1] or 0))
redis.call('HINCRBY', KEYS[1], 'failed', failed - (before[2] or 0))
if now < tonumber(expires) then
  redis.call('HSET', KEYS[1], 'expires_ms', string.format('%.0f', now + ttl))
  redis.call('PEXPIRE', KEYS[1], keep)
  redis.call('PEXPIRE', KEYS[2], keep)
  redis.call('PEXPIRE', KEYS[4], keep)
end
local good, bad, chunks, newest = unpack(redis.call('HMGET', KEYS[1], 'succeeded', 'failed', 'chunks', 'newest_mark'))
-- Marks of time and seeds ended, half a minute apart: the older one is used (producer/progress.py).
if not newest or now - string.match(newest, '^%d+') >= 30000 then
  if newest then
    redis.call('HSET', KEYS[1], 'mark', newest)
  end
  redis.call('HSET', KEYS[1], 'newest_mark', string.format('%.0f:%.0f', now, good + bad))
end
if good + bad < tonumber(total) then
  changed(ARGV[1], open, now, chunk)
  return 1
end
-- The job has ended; one that had failed succeeds if a late result has what was missing.
local final = status ~= 'canceled' and (tonumber(bad) > 0 and 'failed' or 'succeeded') or nil
if final and status ~= final then
  redis.call('HSET', KEYS[1], 'status', final, 'completed_ms', string.format('%.0f', now))
end
changed(ARGV[1], open, now, chunk, status ~= final and final or nil)
redis.call('ZREM', KEYS[5], ARGV[1])
if tonumber(total) > 1 then
  redis.call('ZADD', KEYS[9], string.format('%.0f', now), ARGV[1])
end
if tonumber(bad) == 0 then
  redis.call('DEL', KEYS[4])
end
-- The results of the first chunks live as long as that of the last.
local base = tonumber(chunks) > 1 and string.sub(KEYS[3], 1, -(#chunk + 1))
for number = 0, base and chunks - 1 or -1 do
  redis.call('PEXPIRE', base .. string.format('%.0f', number), keep)
end
return 1
