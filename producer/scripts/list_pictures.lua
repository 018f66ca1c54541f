-- Pictures of a gallery, newest first. KEYS: gallery, pictures. ARGV: how many; score of the last one seen, '' for none.
-- Returns how many there are in all; the score to go on from, '' at the end; then of each its name, score and facts.
-- Those whose facts have gone are left out and leave the gallery.
local wanted, found, gone, last = tonumber(ARGV[1]), 0, {}, ARGV[2]
local answer = {0, ''}
while found < wanted and #gone < 1000 do
  local start = last == '' and '+inf' or '(' .. last
  local page = redis.call('ZREVRANGEBYSCORE', KEYS[1], start, '-inf', 'WITHSCORES', 'LIMIT', 0, wanted - found)
  if #page == 0 then
    break
  end
  local names = {}
  for place = 1, #page, 2 do
    names[#names + 1] = page[place]
  end
  for place, facts in ipairs(redis.call('HMGET', KEYS[2], unpack(names))) do
    last = string.format('%.0f', page[2 * place])
    if facts then
      found = found + 1
      local length = #answer
      answer[length + 1], answer[length + 2], answer[length + 3] = names[place], last, facts
    else
      gone[#gone + 1] = names[place]
    end
  end
end
if #gone > 0 then
  redis.pcall('ZREM', KEYS[1], unpack(gone)) -- who may only read reads all the same
end
answer[1] = redis.call('ZCARD', KEYS[1])
if last ~= '' and redis.call('ZCOUNT', KEYS[1], '-inf', '(' .. last) > 0 then
  answer[2] = last
end
return answer
