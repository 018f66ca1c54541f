-- Take messages: each is copied to the worker's hash before it leaves its lane, in one step with it.
-- KEYS: messages held, workers, first lane, other lanes...
-- ARGV: worker id, lease ms, prefix of the tags, most messages, most bytes of a message, wake text, backwards ('1').
-- Returns tag, lane, bytes and text of each; a text that is too long is cut to that many bytes, here and in the hash.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('ZADD', KEYS[2], 'GT', string.format('%.0f', now + ARGV[2]), ARGV[1])
local lanes = {}
for lane = 3, #KEYS do
  lanes[#lanes + 1] = ARGV[7] == '1' and #KEYS + 3 - lane or lane
end
local taken, number = {}, 0
for _, lane in ipairs(lanes) do
  while number < tonumber(ARGV[4]) do
    local text = redis.call('LINDEX', KEYS[lane], -1)
    if not text then
      break
    end
    if text ~= ARGV[6] then
      local bytes = #text
      text = string.sub(text, 1, ARGV[5])
      local tag = ARGV[3] .. number
      redis.call('HSET', KEYS[1], tag, (lane - 3) .. text)
      taken[#taken + 1] = {tag, KEYS[lane], bytes, text}
      number = number + 1
    end
    redis.call('RPOP', KEYS[lane])
  end
end
if redis.call('LLEN', KEYS[3]) == 0 then
  for lane = 4, #KEYS do
    if redis.call('LLEN', KEYS[lane]) > 0 then
      redis.call('RPUSH', KEYS[3], ARGV[6])
      break
    end
  end
end
return taken
