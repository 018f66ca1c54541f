-- A job as it is now. KEYS: job record; lanes, the first one first. ARGV: ticket, wake text, entries of its lane among
-- which its place is looked for, 0 for none.
-- Returns the fields and values of its record; the time in ms; and, while it is queued, how many entries of the queue
-- are taken before its ticket if no others come, or that many at least if it is not among those looked at; else -1.
-- Writes nothing.
local time = redis.call('TIME')
local now = string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000))
local record = redis.call('HGETALL', KEYS[1])
local status, sent, lane = unpack(redis.call('HMGET', KEYS[1], 'status', 'sent', 'lane'))
if status ~= 'queued' or not sent or ARGV[3] == '0' then
  return {record, now, -1}
elseif tonumber(sent) > 0 then
  return {record, now, 0}
end
local length = redis.call('LLEN', KEYS[2 + lane])
local place = redis.call('LPOS', KEYS[2 + lane], ARGV[1], 'RANK', -1, 'MAXLEN', ARGV[3])
if not place and length <= tonumber(ARGV[3]) then
  return {record, now, -1}
end
local ahead = place and length - place - 1 or tonumber(ARGV[3])
for more_urgent = 2, 1 + lane do
  ahead = ahead + redis.call('LLEN', KEYS[more_urgent])
end
local stand_in = redis.call('LPOS', KEYS[2], ARGV[2], 'RANK', -1, 'MAXLEN', 1000)
if stand_in and (lane ~= '0' or stand_in > (place or -1)) then
  ahead = ahead - 1
end
return {record, now, ahead}
