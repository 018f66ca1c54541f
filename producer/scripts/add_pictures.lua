-- Put pictures of earlier times into the gallery, those that are not in it. KEYS: gallery, pictures.
-- ARGV: of each its score, which is raised above those of the same second, its name and its facts. Returns how many came.
local came = 0
for i = 1, #ARGV, 3 do
  local score, name = ARGV[i], ARGV[i + 1]
  if not redis.call('ZSCORE', KEYS[1], name) then
    -- Stores tell whole seconds: behind those of the same second.
    local second = score - score % 1000000
    local taken = redis.call(
      'ZREVRANGEBYSCORE', KEYS[1], string.format('%.0f', second + 999999), string.format('%.0f', second), 'WITHSCORES',
      'LIMIT', 0, 1)
    score = string.format('%.0f', math.max(score, (taken[2] or 0) + 1))
    redis.call('HSET', KEYS[2], name, ARGV[i + 2])
    redis.call('ZADD', KEYS[1], score, name)
    came = came + 1
  end
end
return came
