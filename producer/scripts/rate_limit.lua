-- Spend one request of a rate (GCRA): its key holds the time up to which requests are spent, by this server's clock.
-- KEYS: rate. ARGV: microseconds from one request to the next, requests that may come at once.
-- Returns 0 if it may be made, else the milliseconds after which it may; then nothing is spent. What is spent never
-- reaches beyond the burst, even if the clock was set back.
local time = redis.call('TIME')
local now, interval = time[1] * 1000000 + time[2], tonumber(ARGV[1])
local most = interval * ARGV[2]
local spent = math.min(math.max(tonumber(redis.call('GET', KEYS[1]) or 0) - now, 0), most) + interval
if spent > most then
  return math.ceil((spent - most) / 1000)
end
redis.call('SET', KEYS[1], string.format('%.0f', now + spent), 'PX', math.ceil(spent / 1000))
return 0
