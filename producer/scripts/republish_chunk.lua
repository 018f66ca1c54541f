-- A chunk whose message is in no list is enqueued again, unless it or its job has ended.
-- KEYS: job record, chunk facts, first lane, lane of the job. ARGV: chunk, seeds in the chunk, message, wake text.
-- Returns 1 if it was enqueued.
local status = redis.call('HGET', KEYS[1], 'status')
local fact = redis.call('HGET', KEYS[2], ARGV[1])
if (status ~= 'queued' and status ~= 'running') or (fact and fact ~= 'running' and fact ~= 'dropped') then
  return 0
end
redis.call('RPUSH', KEYS[4], ARGV[3])
if redis.call('LLEN', KEYS[3]) == 0 then
  redis.call('RPUSH', KEYS[3], ARGV[4])
end
if fact == 'running' then
  redis.call('HDEL', KEYS[2], ARGV[1])
  redis.call('HINCRBY', KEYS[1], 'running', -ARGV[2])
end
return 1
