-- With change.lua.
-- A job's ticket is put where it belongs: into its lane while there are chunks to send, and nowhere else. The number of
-- chunks behind it is put right as well, the turn of its tenant is not (mend_turn.lua). Doing this twice does no harm.
-- KEYS: job record, seeds. ARGV: job id, ticket, lanes, queue and tenant of a job whose record has gone.
-- Returns how many chunks the ticket stands for if it was missing, else 0.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local status, sent, chunks, own, expires, queue, tenant =
  unpack(redis.call('HMGET', KEYS[1], 'status', 'sent', 'chunks', 'lane', 'expires_ms', 'queue', 'tenant'))
if not status then
  queue, tenant = ARGV[4], ARGV[5]
end
tenant = tenant or ''
local open = (status == 'queued' or status == 'running') and sent and now < tonumber(expires)
local left = open and redis.call('EXISTS', KEYS[2]) == 1 and chunks - sent or 0
local function note(lane, behind)
  if behind > 0 then
    redis.call('HSET', behind_key(queue, lane), ARGV[1], behind)
  else
    redis.call('HDEL', behind_key(queue, lane), ARGV[1])
  end
end
local found = false
for lane = 0, ARGV[3] - 1 do
  local list = ticket_list(queue, lane, tenant)
  local here = redis.call('LPOS', list, ARGV[2])
  if here and left < 1 then
    redis.call('LREM', list, 0, ARGV[2])
  end
  note(lane, here and left - 1 or 0)
  found = found or here
end
if found or left < 1 then
  return 0
end
redis.call('RPUSH', ticket_list(queue, own, tenant), ARGV[2])
note(own, left - 1)
wake(queue)
return left
