-- Keep a secret unless there is one. KEYS: the secret. ARGV: secret. Returns the one that there is.
redis.call('SETNX', KEYS[1], ARGV[1])
return redis.call('GET', KEYS[1])
