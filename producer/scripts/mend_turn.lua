-- With change.lua.
-- A tenant's turn stands in each lane once where there are tickets of its jobs, and nowhere else; the number of tickets
-- behind it is put right as well. Doing this twice does no harm.
-- ARGV: tenant, lanes, queue. Returns how many lanes it was missing in.
local missing, turn, queue = 0, '@TURN_PREFIX@' .. ARGV[1], ARGV[3]
for lane = 0, ARGV[2] - 1 do
  local key = lane_key(queue, lane)
  local standing = #redis.call('LPOS', key, turn, 'COUNT', 0)
  if standing > 1 then
    redis.call('LREM', key, standing - 1, turn)
  elseif standing == 0 and redis.call('LLEN', ticket_list(queue, lane, ARGV[1])) > 0 then
    redis.call('RPUSH', key, turn)
    missing = missing + 1
  end
  count_turn(queue, lane, ARGV[1])
end
if missing > 0 then
  wake(queue)
end
return missing
