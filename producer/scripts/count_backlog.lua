-- With change.lua.
-- Count again what has not ended, from the records of the active jobs. KEYS: active jobs. ARGV: most jobs to look at.
-- Returns 1, or 0 if there are more of them, and the counts stay as they are.
if redis.call('ZCARD', KEYS[1]) > tonumber(ARGV[1]) then
  return 0
end
redis.call('HDEL', '@BACKLOG_KEY@', 'seeds', 'bytes')
redis.call('DEL', '@BACKLOG_SEEDS_KEY@', '@BACKLOG_QUEUES_KEY@')
for _, job in ipairs(redis.call('ZRANGE', KEYS[1], 0, -1)) do
  local seeds = open_seeds(job)
  local queue, tenant, weight = unpack(redis.call('HMGET', '@JOB_KEY_PREFIX@' .. job, 'queue', 'tenant', 'weight'))
  if seeds > 0 then
    count(seeds, tonumber(weight or 0), queue, tenant or '')
  end
end
return 1
