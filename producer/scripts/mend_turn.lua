-- With change.lua.
-- A tenant's turn stands in each lane once where there are tickets of its jobs, and nowhere else; the number of tickets
-- behind it is put right as well. Doing this twice does no harm.
-- KEYS: lanes, the first one first; of each lane the chunks behind its tickets. ARGV: tenant, wake text.
-- Returns how many lanes it was missing in.
local lanes, missing, turn = #KEYS / 2, 0, '@TURN_PREFIX@' .. ARGV[1]
for lane = 0, lanes - 1 do
  local key = KEYS[1 + lane]
  local standing = #redis.call('LPOS', key, turn, 'COUNT', 0)
  if standing > 1 then
    redis.call('LREM', key, standing - 1, turn)
  elseif standing == 0 and redis.call('LLEN', ticket_list(key, lane, ARGV[1])) > 0 then
    redis.call('RPUSH', key, turn)
    missing = missing + 1
  end
  count_turn(key, lane, KEYS[1 + lanes + lane], ARGV[1])
end
if missing > 0 and redis.call('LLEN', KEYS[1]) == 0 then
  redis.call('RPUSH', KEYS[1], ARGV[2])
end
return missing
