-- The connections of these workers are gone: they have little time left to say that they live.
-- KEYS: workers. ARGV: ms, worker ids...
local time = redis.call('TIME')
local soon = string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000) + ARGV[1])
for i = 2, #ARGV do
  redis.call('ZADD', KEYS[1], 'XX', 'LT', soon, ARGV[i])
end
return 1
