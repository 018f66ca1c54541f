-- With change.lua.
-- Write the record of a job and put its ticket into its lane, or into its tenant's list, all or nothing.
-- KEYS: job record, seeds, active jobs, chunk facts, events.
-- ARGV: job id, digest of the seeds, total seeds, chunks, seeds in a chunk, priority, lifetime ms, tombstone ms,
-- packed seeds, queue ('' for the default one), ticket, number of the lane, force ('1': also what is published already is
-- computed), trace context ('' for none), tenant ('' for none), metadata and webhook ('' for none); most seeds and bytes
-- that may not have ended, and most seeds of a tenant, each 0 for any.
-- Returns 1 if the job was made; 0 if it exists already with these seeds; -1 if with others, or it is another tenant's;
-- -2, -3, -4 if there were too many seeds, bytes, or seeds of the tenant; -5 if no worker has ever served that queue.
-- Nothing is enqueued unless it is 1.
local job, tenant, seeds, queue, lane = ARGV[1], ARGV[15], tonumber(ARGV[3]), ARGV[10], ARGV[12]
if redis.call('EXISTS', KEYS[1]) == 1 then
  local digest, owner = unpack(redis.call('HMGET', KEYS[1], 'seeds_sha256', 'tenant'))
  return digest == ARGV[2] and (owner or '') == tenant and 0 or -1
end
if not is_default(queue) and redis.call('HEXISTS', '@QUEUES_KEY@', queue) == 0 then
  return -5
end
local weight = #ARGV[9] + #ARGV[16] + #ARGV[17] + 1024
local idle = redis.call('ZCARD', KEYS[3]) == 0 -- so whatever the backlog says was left over
local all, bytes = unpack(redis.call('HMGET', '@BACKLOG_KEY@', 'seeds', 'bytes'))
local own = redis.call('HGET', '@BACKLOG_SEEDS_KEY@', tenant)
local function exceeds(waiting, more, most)
  return tonumber(most) > 0 and (idle and 0 or waiting or 0) + more > tonumber(most)
end
if exceeds(all, seeds, ARGV[18]) then
  return -2
elseif exceeds(bytes, weight, ARGV[19]) then
  return -3
elseif tenant ~= '' and exceeds(own, seeds, ARGV[20]) then
  return -4
end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local keep = string.format('%.0f', ARGV[7] + ARGV[8])
-- The queue comes first: if it is no list, or memory is short, this fails before anything is written.
local standing = redis.call('LPUSH', ticket_list(queue, lane, tenant), ARGV[11])
if idle then
  redis.call('HDEL', '@BACKLOG_KEY@', 'seeds', 'bytes')
  redis.call('DEL', '@BACKLOG_SEEDS_KEY@', '@BACKLOG_QUEUES_KEY@')
end
if tenant ~= '' and standing == 1 then
  redis.call('LPUSH', lane_key(queue, lane), '@TURN_PREFIX@' .. tenant)
end
count_turn(queue, lane, tenant)
wake(queue)
if tonumber(ARGV[4]) > 1 then
  redis.call('HSET', behind_key(queue, lane), job, ARGV[4] - 1)
else
  redis.call('HDEL', behind_key(queue, lane), job)
end
redis.call('HSET', KEYS[1], 'status', 'queued', 'seeds_sha256', ARGV[2], 'total', ARGV[3], 'chunks', ARGV[4],
  'chunk_size', ARGV[5], 'priority', ARGV[6], 'lane', lane, 'force', ARGV[13], 'ttl_ms', ARGV[7], 'sent', 0, 'ended', 0,
  'running', 0, 'succeeded', 0, 'failed', 0, 'weight', weight,
  'created_ms', string.format('%.0f', now), 'expires_ms', string.format('%.0f', now + ARGV[7]))
for name, place in pairs({queue = 10, trace = 14, tenant = 15, metadata = 16, webhook = 17}) do
  if ARGV[place] ~= '' then
    redis.call('HSET', KEYS[1], name, ARGV[place])
  end
end
redis.call('PEXPIRE', KEYS[1], keep)
redis.call('DEL', KEYS[4], KEYS[5])
redis.call('SET', KEYS[2], ARGV[9], 'PX', keep)
redis.call('ZADD', KEYS[3], now, job)
list(job, tenant, now, tonumber(keep))
changed(job, 0, now)
return 1
