-- Write the record of a job and enqueue its messages, all or nothing.
-- KEYS: job record, queue list. ARGV: digest of the seeds, total seeds, chunks, lifetime ms, tombstone ms, messages...
-- Returns 1 if the job was made, 0 if it exists already with these seeds, -1 if with others (nothing is enqueued then).
if redis.call('EXISTS', KEYS[1]) == 1 then
  return redis.call('HGET', KEYS[1], 'seeds_sha256') == ARGV[1] and 0 or -1
end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
-- The queue comes first: if it is no list, or memory is short, this fails before anything is written.
for i = 6, #ARGV do
  redis.call('LPUSH', KEYS[2], ARGV[i])
end
redis.call('HSET', KEYS[1], 'status', 'queued', 'seeds_sha256', ARGV[1], 'total', ARGV[2], 'chunks', ARGV[3],
  'ttl_ms', ARGV[4], 'running', 0, 'succeeded', 0, 'failed', 0,
  'created_ms', string.format('%.0f', now), 'expires_ms', string.format('%.0f', now + ARGV[4]))
redis.call('PEXPIRE', KEYS[1], string.format('%.0f', ARGV[4] + ARGV[5]))
return 1
