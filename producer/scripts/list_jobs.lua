-- Jobs, newest first. KEYS: jobs. ARGV: how many; score and id of the last one that was seen, '' for none.
-- Returns the time in ms; where to go on, score and id of the last one looked at, '' at the end; then of each its id and
-- the fields and values of its record. Those whose record has gone are left out and forgotten.
local time = redis.call('TIME')
local wanted, start = tonumber(ARGV[1]), 0
local answer = {string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000)), ''}
if ARGV[3] ~= '' then
  local place = redis.call('ZREVRANK', KEYS[1], ARGV[3])
  start = place and place + 1 or redis.call('ZCOUNT', KEYS[1], '(' .. ARGV[2], '+inf')
end
local found, gone = 0, {}
while found < wanted and #gone < 1000 do
  local page = redis.call('ZREVRANGE', KEYS[1], start, start + wanted - found - 1, 'WITHSCORES')
  if #page == 0 then
    answer[2] = ''
    break
  end
  start = start + #page / 2
  for place = 1, #page, 2 do
    local job = page[place]
    local record = redis.call('HGETALL', '@JOB_KEY_PREFIX@' .. job)
    if #record > 0 then
      found = found + 1
      answer[#answer + 1] = job
      answer[#answer + 1] = record
    else
      gone[#gone + 1] = job
    end
    answer[2] = page[place + 1] .. ':' .. job
  end
end
if #gone > 0 then
  redis.call('ZREM', KEYS[1], unpack(gone))
end
return answer
