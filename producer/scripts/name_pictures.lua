-- The names of the newest pictures of a gallery. KEYS: gallery. ARGV: how many at most.
return redis.call('ZREVRANGE', KEYS[1], 0, ARGV[1] - 1)
