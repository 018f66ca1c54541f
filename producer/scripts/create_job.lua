-- Write the record of a job and enqueue its messages, all or nothing.
-- KEYS: job record, queue list. ARGV: total seeds, chunks, lifetime ms, tombstone ms, messages...
-- Returns 1 if the job was made, 0 if a job of that id exists already (nothing is enqueued again).
if redis.call('EXISTS', KEYS[1]) == 1 then
  return 0
end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('HSET', KEYS[1], 'status', 'queued', 'total', ARGV[1], 'chunks', ARGV[2], 'ttl_ms', ARGV[3],
  'running', 0, 'succeeded', 0, 'failed', 0,
  'created_ms', string.format('%.0f', now), 'expires_ms', string.format('%.0f', now + ARGV[3]))
redis.call('PEXPIRE', KEYS[1], string.format('%.0f', ARGV[3] + ARGV[4]))
for i = 5, #ARGV do
  redis.call('LPUSH', KEYS[2], ARGV[i])
end
return 1
