-- With change.lua.
-- Jobs whose time is over, whose record has gone, or that have ended, are active no more. KEYS: active jobs. ARGV: jobs.
-- Returns how many that were.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local gone = 0
for _, job in ipairs(ARGV) do
  local record = '@JOB_KEY_PREFIX@' .. job
  local status, expires = unpack(redis.call('HMGET', record, 'status', 'expires_ms'))
  local open = status == 'queued' or status == 'running'
  if not open or now >= tonumber(expires) then
    gone = gone + redis.call('ZREM', KEYS[1], job)
    if open then
      local before = open_seeds(job)
      redis.call('HSET', record, 'status', 'expired')
      changed(job, before, now, nil, 'expired')
    end
  end
end
return gone
