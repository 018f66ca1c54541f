-- Some pictures of a gallery. KEYS: gallery, pictures. ARGV: their names.
-- Returns how many there are in all; then of each that is there its name, score and facts. Those whose facts have gone
-- leave the gallery.
local answer, gone = {0}, {}
if #ARGV > 0 then
  local scores = redis.call('ZMSCORE', KEYS[1], unpack(ARGV))
  for place, facts in ipairs(redis.call('HMGET', KEYS[2], unpack(ARGV))) do
    if scores[place] and facts then
      local length = #answer
      answer[length + 1], answer[length + 2] = ARGV[place], string.format('%.0f', scores[place])
      answer[length + 3] = facts
    elseif scores[place] then
      gone[#gone + 1] = ARGV[place]
    end
  end
end
if #gone > 0 then
  redis.pcall('ZREM', KEYS[1], unpack(gone)) -- who may only read reads all the same
end
answer[1] = redis.call('ZCARD', KEYS[1])
return answer
