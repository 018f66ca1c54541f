-- A worker says that it lives. KEYS: workers, facts of workers, messages held.
-- ARGV: worker id, lease ms, what it says of itself. Returns the tags of the messages that it holds.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('ZADD', KEYS[1], string.format('%.0f', now + ARGV[2]), ARGV[1])
redis.call('HSET', KEYS[2], ARGV[1], ARGV[3])
return redis.call('HKEYS', KEYS[3])
