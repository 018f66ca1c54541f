-- With names.lua.
-- What follows from a change of a job. Stands before the scripts that begin with "With change.lua".

-- Seeds of a job that have not ended, 0 if it has, or is not there.
local function open_seeds(job)
  local status, total, succeeded, failed =
    unpack(redis.call('HMGET', '@JOB_KEY_PREFIX@' .. job, 'status', 'total', 'succeeded', 'failed'))
  return (status == 'queued' or status == 'running') and total - succeeded - failed or 0
end

-- Add to what has not ended, of all, of a queue and of a tenant; what leaves it has ended. That of the default queue is
-- what is left of all.
local function count(seeds, bytes, queue, tenant)
  if seeds ~= 0 then
    redis.call('HINCRBY', '@BACKLOG_KEY@', 'seeds', seeds)
    if not is_default(queue) then
      redis.call('HINCRBY', '@BACKLOG_QUEUES_KEY@', queue, seeds)
    end
    redis.call('HINCRBY', '@BACKLOG_SEEDS_KEY@', tenant, seeds)
  end
  if seeds < 0 then
    redis.call('HINCRBY', '@BACKLOG_KEY@', 'ended', -seeds)
    redis.call('HINCRBY', '@BACKLOG_ENDED_KEY@', tenant, -seeds)
  end
  if bytes ~= 0 then
    redis.call('HINCRBY', '@BACKLOG_KEY@', 'bytes', bytes)
  end
end

-- A job was made that is kept for so many ms: list it. Two others are looked at each time, in turn, and those whose
-- record has gone are listed no more; the list of a tenant who makes no others goes as a whole.
local function list(job, tenant, now, keep)
  local own = tenant ~= '' and ('@TENANT_JOBS_KEY_PREFIX@' .. tenant) or nil
  for _, key in ipairs({'@JOBS_KEY@', own}) do
    redis.call('ZADD', key, string.format('%.0f', now), job)
    local place = tonumber(redis.call('HGET', '@TRIM_KEY@', key) or 0)
    local others = redis.call('ZRANGE', key, place, place + 1)
    for _, other in ipairs(others) do
      if redis.call('EXISTS', '@JOB_KEY_PREFIX@' .. other) == 0 then
        redis.call('ZREM', key, other)
      else
        place = place + 1
      end
    end
    redis.call('HSET', '@TRIM_KEY@', key, #others == 2 and place or 0)
  end
  if own and redis.call('PTTL', own) < 2 * keep then
    redis.call('PEXPIRE', own, string.format('%.0f', 2 * keep))
  end
end

-- A job has changed that had "before" seeds which had not ended. The log gets the chunk that has ended, and the status
-- if it is another now; both may be nil.
local function changed(job, before, now, chunk, status)
  local record, after = '@JOB_KEY_PREFIX@' .. job, open_seeds(job)
  local queue, tenant, weight, webhook = unpack(redis.call('HMGET', record, 'queue', 'tenant', 'weight', 'webhook'))
  if before ~= after then
    local sign = (before > 0 and after == 0) and -1 or (before == 0 and after > 0) and 1 or 0
    count(after - before, sign * (weight or 0), queue, tenant or '')
  end
  if chunk or status then
    redis.call('RPUSH', '@EVENTS_KEY_PREFIX@' .. job, (chunk or '') .. ':' .. (status or ''))
  end
  redis.call('PEXPIRE', '@EVENTS_KEY_PREFIX@' .. job, redis.call('PTTL', record))
  if webhook and (status == 'succeeded' or status == 'failed' or status == 'canceled') then
    local oldest = redis.call('ZRANGE', '@WEBHOOKS_KEY@', 0, 0)[1] -- where nobody sends them
    if oldest and redis.call('EXISTS', '@JOB_KEY_PREFIX@' .. oldest) == 0 then
      redis.call('ZREM', '@WEBHOOKS_KEY@', oldest)
    end
    redis.call('ZADD', '@WEBHOOKS_KEY@', string.format('%.0f', now), job)
  end
  redis.pcall('PUBLISH', '@CHANGES_CHANNEL@', job)
end

-- The list that a job's ticket is in: its lane, or that of its tenant's tickets there.
local function ticket_list(queue, lane, tenant)
  return tenant == '' and lane_key(queue, lane) or turns_key(queue, lane, tenant)
end

-- A tenant's list has changed: note how many tickets it has beyond the first; without any it has no turn.
local function count_turn(queue, lane, tenant)
  if tenant == '' then
    return
  end
  local length, name = redis.call('LLEN', ticket_list(queue, lane, tenant)), '@TURN_PREFIX@' .. tenant
  if length > 1 then
    redis.call('HSET', behind_key(queue, lane), name, length - 1)
  else
    redis.call('HDEL', behind_key(queue, lane), name)
  end
  if length == 0 then
    redis.call('LREM', lane_key(queue, lane), 0, name)
  end
end

-- Something was put into a lane: those who wait are woken, which they do on the first one.
local function wake(queue)
  local first = lane_key(queue, 0)
  if redis.call('LLEN', first) == 0 then
    redis.call('RPUSH', first, '@WAKE@')
  end
end

