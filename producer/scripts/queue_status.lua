-- One look at the queue. KEYS: queue list, kombu's unacknowledged messages, workers. ARGV: worker lifetime s.
-- Returns messages waiting, messages held by workers, descriptions of the workers seen.
local now = tonumber(redis.call('TIME')[1])
return {
  redis.call('LLEN', KEYS[1]),
  redis.call('HLEN', KEYS[2]),
  redis.call('ZRANGEBYSCORE', KEYS[3], string.format('%.0f', now - ARGV[1]), '+inf'),
}
