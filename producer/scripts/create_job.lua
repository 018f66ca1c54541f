-- Write the record of a job and put its ticket into its lane, all or nothing.
-- KEYS: job record, seeds, active jobs, first lane, lane of the job, chunk facts, chunks behind the tickets of that lane.
-- ARGV: job id, digest of the seeds, total seeds, chunks, seeds in a chunk, priority, lifetime ms, tombstone ms,
-- packed seeds, wake text, ticket, number of the lane, force ('1': also what is published already is computed), trace
-- context ('' for none).
-- Returns 1 if the job was made, 0 if it exists already with these seeds, -1 if with others (nothing is enqueued then).
if redis.call('EXISTS', KEYS[1]) == 1 then
  return redis.call('HGET', KEYS[1], 'seeds_sha256') == ARGV[2] and 0 or -1
end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local keep = string.format('%.0f', ARGV[7] + ARGV[8])
-- The queue comes first: if it is no list, or memory is short, this fails before anything is written.
redis.call('LPUSH', KEYS[5], ARGV[11])
if redis.call('LLEN', KEYS[4]) == 0 then
  redis.call('RPUSH', KEYS[4], ARGV[10])
end
if tonumber(ARGV[4]) > 1 then
  redis.call('HSET', KEYS[7], ARGV[1], ARGV[4] - 1)
else
  redis.call('HDEL', KEYS[7], ARGV[1])
end
redis.call('HSET', KEYS[1], 'status', 'queued', 'seeds_sha256', ARGV[2], 'total', ARGV[3], 'chunks', ARGV[4],
  'chunk_size', ARGV[5], 'priority', ARGV[6], 'lane', ARGV[12], 'force', ARGV[13], 'ttl_ms', ARGV[7], 'sent', 0, 'ended', 0,
  'running', 0, 'succeeded', 0, 'failed', 0,
  'created_ms', string.format('%.0f', now), 'expires_ms', string.format('%.0f', now + ARGV[7]))
if ARGV[14] ~= '' then
  redis.call('HSET', KEYS[1], 'trace', ARGV[14])
end
redis.call('PEXPIRE', KEYS[1], keep)
redis.call('DEL', KEYS[6])
redis.call('SET', KEYS[2], ARGV[9], 'PX', keep)
redis.call('ZADD', KEYS[3], now, ARGV[1])
return 1
