-- Cancel a job that has not ended. KEYS: job record, seeds, active jobs. ARGV: job id.
-- Returns 1 if it was cancelled, 0 if it had ended, -1 if unknown.
local status = redis.call('HGET', KEYS[1], 'status')
if not status then
  return -1
elseif status ~= 'queued' and status ~= 'running' then
  return 0
end
local time = redis.call('TIME')
redis.call('HSET', KEYS[1], 'status', 'canceled',
  'completed_ms', string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000)))
redis.call('DEL', KEYS[2])
redis.call('ZREM', KEYS[3], ARGV[1])
return 1
