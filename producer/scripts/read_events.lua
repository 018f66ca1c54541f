-- Changes of a job from one of them on. KEYS: job record, events. ARGV: how many changes were seen; how many are wanted.
-- Returns the fields and values of the record, the time in ms, and the changes, each as "chunk:status". Writes nothing.
local time = redis.call('TIME')
local now = string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000))
local events = redis.call('LRANGE', KEYS[2], ARGV[1], string.format('%.0f', ARGV[1] + ARGV[2] - 1))
return {redis.call('HGETALL', KEYS[1]), now, events}
