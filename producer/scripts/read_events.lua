-- Changes of a job since one of them. KEYS: job record, events. ARGV: id of the last change that was seen, '' for none;
-- how many. Returns the fields and values of the record, the time in ms, and the changes. Writes nothing.
local time = redis.call('TIME')
local now = string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000))
local start = ARGV[1] == '' and '-' or '(' .. ARGV[1]
return {redis.call('HGETALL', KEYS[1]), now, redis.call('XRANGE', KEYS[2], start, '+', 'COUNT', ARGV[2])}
