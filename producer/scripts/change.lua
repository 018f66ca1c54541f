-- What follows from a change of a job. Stands before the scripts that begin with "With change.lua".

-- Seeds of a job that have not ended, 0 if it has, or is not there.
local function open_seeds(job)
  local status, total, succeeded, failed =
    unpack(redis.call('HMGET', '@JOB_KEY_PREFIX@' .. job, 'status', 'total', 'succeeded', 'failed'))
  return (status == 'queued' or status == 'running') and total - succeeded - failed or 0
end

-- Add to what has not ended, of all and of a tenant; what leaves it has ended.
local function count(seeds, bytes, tenant)
  local names = {'', tenant ~= '' and (' ' .. tenant) or nil}
  for _, name in ipairs(names) do
    if seeds ~= 0 then
      redis.call('HINCRBY', '@BACKLOG_KEY@', 'seeds' .. name, seeds)
    end
    if seeds < 0 then
      redis.call('HINCRBY', '@BACKLOG_KEY@', 'ended' .. name, -seeds)
    end
  end
  if bytes ~= 0 then
    redis.call('HINCRBY', '@BACKLOG_KEY@', 'bytes', bytes)
  end
end

-- A job was made: list it, and let go of the oldest that are listed if they are no more.
local function list(job, tenant, now)
  for _, key in ipairs({'@JOBS_KEY@', tenant ~= '' and ('@TENANT_JOBS_KEY_PREFIX@' .. tenant) or nil}) do
    for _, old in ipairs(redis.call('ZRANGE', key, 0, 1)) do
      if redis.call('EXISTS', '@JOB_KEY_PREFIX@' .. old) == 0 then
        redis.call('ZREM', key, old)
      end
    end
    redis.call('ZADD', key, string.format('%.0f', now), job)
  end
end

-- A job has changed that had "before" seeds which had not ended. The log gets the chunk that has ended, and the status
-- if it is another now; both may be nil.
local function changed(job, before, now, chunk, status)
  local record, after = '@JOB_KEY_PREFIX@' .. job, open_seeds(job)
  local tenant, weight, webhook = unpack(redis.call('HMGET', record, 'tenant', 'weight', 'webhook'))
  if before ~= after then
    local sign = (before > 0 and after == 0) and -1 or (before == 0 and after > 0) and 1 or 0
    count(after - before, sign * (weight or 0), tenant or '')
  end
  if chunk or status then
    local fields = {}
    for name, value in pairs({chunk = chunk, status = status}) do
      fields[#fields + 1] = name
      fields[#fields + 1] = value
    end
    redis.call('XADD', '@EVENTS_KEY_PREFIX@' .. job, '*', unpack(fields))
    redis.call('PEXPIRE', '@EVENTS_KEY_PREFIX@' .. job, redis.call('PTTL', record))
  end
  if webhook and (status == 'succeeded' or status == 'failed' or status == 'canceled') then
    redis.call('ZADD', '@WEBHOOKS_KEY@', string.format('%.0f', now), job)
  end
  redis.pcall('PUBLISH', '@CHANGES_CHANNEL@', job)
end

-- The list that a job's ticket is in: its lane, or that of its tenant's tickets there.
local function ticket_list(lane_key, lane, tenant)
  return tenant == '' and lane_key or '@TURNS_KEY_PREFIX@' .. lane .. ':' .. tenant
end

-- A tenant's list has changed: note how many tickets it has beyond the first; without any it has no turn.
local function count_turn(lane_key, lane, behind_key, tenant)
  if tenant == '' then
    return
  end
  local length, name = redis.call('LLEN', ticket_list(lane_key, lane, tenant)), '@TURN_PREFIX@' .. tenant
  if length > 1 then
    redis.call('HSET', behind_key, name, length - 1)
  else
    redis.call('HDEL', behind_key, name)
  end
  if length == 0 then
    redis.call('LREM', lane_key, 0, name)
  end
end

