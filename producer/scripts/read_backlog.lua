-- What has not ended, and what has. KEYS: backlog. ARGV: tenant, '' for none.
-- Returns the time in ms; seeds, bytes, and seeds ended since ever; seeds and seeds ended of the tenant.
local time = redis.call('TIME')
local counts = redis.call('HMGET', KEYS[1], 'seeds', 'bytes', 'ended')
counts[4] = redis.call('HGET', '@BACKLOG_SEEDS_KEY@', ARGV[1])
counts[5] = redis.call('HGET', '@BACKLOG_ENDED_KEY@', ARGV[1])
local answer = {time[1] * 1000 + math.floor(time[2] / 1000)}
for place = 1, 5 do
  answer[1 + place] = tonumber(counts[place] or 0)
end
return answer
