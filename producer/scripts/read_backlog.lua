-- What has not ended, and what has. KEYS: backlog, queues. ARGV: tenant, '' for none.
-- Returns the time in ms; seeds, bytes, and seeds ended since ever; seeds and seeds ended of the tenant; and as one list
-- the queues by name, each before its seeds, the default one first.
local time = redis.call('TIME')
local counts = redis.call('HMGET', KEYS[1], 'seeds', 'bytes', 'ended')
counts[4] = redis.call('HGET', '@BACKLOG_SEEDS_KEY@', ARGV[1])
counts[5] = redis.call('HGET', '@BACKLOG_ENDED_KEY@', ARGV[1])
local answer = {time[1] * 1000 + math.floor(time[2] / 1000)}
for place = 1, 5 do
  answer[1 + place] = tonumber(counts[place] or 0)
end
local queues, left = {}, answer[2]
for _, queue in ipairs(redis.call('HKEYS', KEYS[2])) do
  if queue ~= '@DEFAULT_QUEUE@' then
    local seeds = tonumber(redis.call('HGET', '@BACKLOG_QUEUES_KEY@', queue) or 0)
    queues[#queues + 1] = queue
    queues[#queues + 1] = math.max(0, seeds)
    left = left - seeds
  end
end
table.insert(queues, 1, math.max(0, left))
table.insert(queues, 1, '@DEFAULT_QUEUE@')
answer[7] = queues
return answer
