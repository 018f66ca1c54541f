-- A worker claims its queue for a model, and says that it lives, in one step: a queue has one model as long as workers
-- serve it, or jobs are under way that were begun with that.
-- KEYS: queues, workers of the queue, facts of workers, active jobs. ARGV: queue, model, or what stands for several,
-- worker id, lease ms, prefix of job records, what stands for several models, name of the default queue.
-- Returns '' if it has the queue; else the model that this is served with, how many workers live, and a job that was begun.
-- Only where the queue has another model, or none is known, and no worker lives, jobs are looked at: some 13 us for each
-- that is active, up to the first that was begun.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local served = redis.call('HGET', KEYS[1], ARGV[1])
local living = redis.call('ZRANGEBYSCORE', KEYS[2], string.format('%.0f', now), '+inf')
if not served and ARGV[2] ~= ARGV[6] then -- workers of a release before this one claim nothing
  for _, worker in ipairs(living) do
    local known, facts = pcall(cjson.decode, redis.call('HGET', KEYS[3], worker) or '')
    served = known and type(facts) == 'table' and facts.model_id or served
  end
end

-- A job of this queue that was begun with another model than this one, and that model if it is known. Jobs of which it
-- is not are those of a release before this one, or of several models: in a queue that nobody has claimed they pass.
local function begun()
  for _, job in ipairs(redis.call('ZRANGE', KEYS[4], 0, -1)) do
    local status, expires, queue, model =
      unpack(redis.call('HMGET', ARGV[5] .. job, 'status', 'expires_ms', 'queue', 'model_id'))
    if status == 'running' and now < tonumber(expires) and (queue or ARGV[7]) == ARGV[1] and model ~= ARGV[2]
      and (model or served) then
      return job, model
    end
  end
end

if served ~= ARGV[2] then
  local workers, job, model = served and #living or 0, nil, nil
  if workers == 0 then
    job, model = begun()
  end
  if workers > 0 or job then
    return {served or model, workers, job or ''}
  end
end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
redis.call('ZADD', KEYS[2], string.format('%.0f', now + ARGV[4]), ARGV[3])
return {'', 0, ''}
