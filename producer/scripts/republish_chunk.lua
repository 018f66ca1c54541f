-- With change.lua.
-- A chunk whose message is in no list is enqueued again, unless it or its job has ended.
-- KEYS: job record, chunk facts. ARGV: chunk, seeds in the chunk, message, queue, number of its lane.
-- Returns 1 if it was enqueued.
local status = redis.call('HGET', KEYS[1], 'status')
local fact = redis.call('HGET', KEYS[2], ARGV[1])
if (status ~= 'queued' and status ~= 'running') or (fact and fact ~= 'running' and fact ~= 'dropped') then
  return 0
end
redis.call('RPUSH', lane_key(ARGV[4], ARGV[5]), ARGV[3])
wake(ARGV[4])
if fact == 'running' then
  redis.call('HDEL', KEYS[2], ARGV[1])
  redis.call('HINCRBY', KEYS[1], 'running', -ARGV[2])
end
return 1
