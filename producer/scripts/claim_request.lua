-- Begin with a request that has an idempotency key, or see what became of it. KEYS: the key's record.
-- ARGV: fingerprint of the request, id of the job that it would make, token of this attempt, lease ms, lifetime ms.
-- Returns 'run' and the id of the job to make, which is that of an attempt whose lease has run out, if there was one;
-- 'done' and the answer; 'busy'; or 'reused' if the fingerprint is another.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local fingerprint, job, until_ms, answer =
  unpack(redis.call('HMGET', KEYS[1], 'fingerprint', 'job', 'until_ms', 'answer'))
if not fingerprint then
  redis.call('HSET', KEYS[1], 'fingerprint', ARGV[1], 'job', ARGV[2])
  redis.call('PEXPIRE', KEYS[1], ARGV[5])
  job, until_ms = ARGV[2], 0
elseif fingerprint ~= ARGV[1] then
  return {'reused'}
elseif answer then
  return {'done', answer}
end
if now < tonumber(until_ms) then
  return {'busy'}
end
redis.call('HSET', KEYS[1], 'token', ARGV[3], 'until_ms', string.format('%.0f', now + ARGV[4]))
return {'run', job}
