-- End an attempt at a request that has an idempotency key. KEYS: the key's record. ARGV: token of the attempt; its
-- answer, or '' if it was refused, so that the key is free again, or 'open' if nobody knows what became of it.
-- Returns 1, or 0 if another attempt has taken over.
if redis.call('HGET', KEYS[1], 'token') ~= ARGV[1] then
  return 0
end
if ARGV[2] == '' then
  redis.call('DEL', KEYS[1])
elseif ARGV[2] == 'open' then
  redis.call('HSET', KEYS[1], 'until_ms', 0)
else
  redis.call('HSET', KEYS[1], 'answer', ARGV[2])
end
return 1
