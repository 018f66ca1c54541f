-- Take the job whose manifest has been due for longest; others leave it alone for some time.
-- KEYS: jobs whose manifest is to be written. ARGV: ms. Returns its id and the claim, or nothing.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local job = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', string.format('%.0f', now), 'LIMIT', 0, 1)[1]
if not job then
  return {}
end
local claim = string.format('%.0f', now + ARGV[1])
redis.call('ZADD', KEYS[1], claim, job)
return {job, claim}
