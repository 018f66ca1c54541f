-- A worker says that it lives. KEYS: workers, facts of workers, messages held, queues.
-- ARGV: worker id, lease ms, what it says of itself, its queue, the model that it has claimed it for, or ''.
-- Returns the model that the queue is served with, or '', and the tags of the messages that the worker holds. A claim
-- that Redis has forgotten is made again.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('ZADD', KEYS[1], string.format('%.0f', now + ARGV[2]), ARGV[1])
redis.call('HSET', KEYS[2], ARGV[1], ARGV[3])
if ARGV[5] ~= '' then
  redis.call('HSETNX', KEYS[4], ARGV[4], ARGV[5])
end
return {redis.call('HGET', KEYS[4], ARGV[4]) or '', redis.call('HKEYS', KEYS[3])}
