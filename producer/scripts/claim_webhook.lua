-- Take a job whose webhook is due and whose receiver and tenant are not busy: of the tenants with the fewest deliveries
-- under way the one that has been due for longest; others leave it alone for some time.
-- KEYS: jobs whose webhook is due. ARGV: ms; key of a job's record without its id; how many jobs are looked at,
-- and for how many ms these wait if all are of the busy, so that those behind them are seen; then the busy: 'host ' and
-- host with port as URLs have it, or 'tenant ' and tenant; and 'under way ', a number, ' ' and its tenant.
-- Returns nothing; 'again' if others may stand behind those that wait now; or: job, claim, attempts that have failed,
-- fields and values of its record, time in ms.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local busy, under_way = {}, {}
for place = 5, #ARGV do
  local number, tenant = string.match(ARGV[place], '^under way (%d+) (.*)$')
  if number then
    under_way[tenant] = tonumber(number)
  else
    busy[ARGV[place]] = true
  end
end
local due = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', string.format('%.0f', now), 'LIMIT', 0, ARGV[3])
local best, fewest
for _, job in ipairs(due) do
  local url, tenant = unpack(redis.call('HMGET', ARGV[2] .. job, 'webhook', 'tenant'))
  local host = string.lower(string.match(url or '', '^%a+://([^/?]+)') or '')
  local number = under_way[tenant or ''] or 0
  if not busy['host ' .. host] and not busy['tenant ' .. (tenant or '')] and (not best or number < fewest) then
    best, fewest = job, number
    if number == 0 then
      break
    end
  end
end
if best then
  local claim = string.format('%.0f', now + ARGV[1])
  redis.call('ZADD', KEYS[1], claim, best)
  local ended, tried = unpack(redis.call('HMGET', ARGV[2] .. best, 'completed_ms', 'webhook_attempts'))
  local of, attempts = string.match(tried or '', '^(%d+):(%d+)$')
  local record = redis.call('HGETALL', ARGV[2] .. best)
  return {best, claim, of == ended and attempts or '0', record, string.format('%.0f', now)}
end
if #due == tonumber(ARGV[3]) then
  for _, job in ipairs(due) do
    redis.call('ZADD', KEYS[1], string.format('%.0f', now + ARGV[4]), job)
  end
  return {'again'}
end
return {}
