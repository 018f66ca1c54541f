-- With names.lua.
-- A job as it is now. KEYS: job record. ARGV: ticket, wake text, entries of its lane among which its place is looked for,
-- 0 for none.
-- Returns the fields and values of its record; the time in ms; and, while it is queued, how many entries of the queue
-- are taken before its ticket if no others come, or that many at least if it is not among those looked at; else -1.
-- Writes nothing.
local time = redis.call('TIME')
local now = string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000))
local record = redis.call('HGETALL', KEYS[1])
local status, sent, lane, tenant, queue =
  unpack(redis.call('HMGET', KEYS[1], 'status', 'sent', 'lane', 'tenant', 'queue'))
if status ~= 'queued' or not sent or ARGV[3] == '0' then
  return {record, now, -1}
elseif tonumber(sent) > 0 then
  return {record, now, 0}
end
-- How many entries of a list are taken before one; nil if it is not there, many if it is not among those looked at.
local function ahead_of(list, entry)
  local length = redis.call('LLEN', list)
  local place = redis.call('LPOS', list, entry, 'RANK', -1, 'MAXLEN', ARGV[3])
  return place and length - place - 1 or length > tonumber(ARGV[3]) and tonumber(ARGV[3]) or nil, place
end
local own = lane_key(queue, lane)
local ahead, place = ahead_of(own, tenant and '@TURN_PREFIX@' .. tenant or ARGV[1])
if ahead and tenant then -- every round of the lane takes one of the tenant's jobs
  local before = ahead_of(turns_key(queue, lane, tenant), ARGV[1])
  ahead = before and ahead + before * redis.call('LLEN', own)
end
if not ahead then
  return {record, now, -1}
end
for more_urgent = 0, lane - 1 do
  ahead = ahead + redis.call('LLEN', lane_key(queue, more_urgent))
end
local stand_in = redis.call('LPOS', lane_key(queue, 0), ARGV[2], 'RANK', -1, 'MAXLEN', 1000)
if stand_in and (lane ~= '0' or stand_in > (place or -1)) then
  ahead = ahead - 1
end
return {record, now, ahead}
