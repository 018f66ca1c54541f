-- Take messages: each is copied to the worker's hash before it leaves its lane, in one step with it. Where a job's
-- ticket stands, the next of its chunks is written out as a message, and the ticket goes to the back of its lane, or
-- away with the last chunk: so jobs of one lane take turns. Where a tenant's turn stands, that is done with the list of
-- the tickets of its jobs, until the turn has had its seeds; then it goes to the back of the lane, or away with the last
-- ticket: so tenants take turns with each other, and the jobs of one among themselves. Should this break off half-way, a chunk comes twice.
-- KEYS: messages held, workers; lanes, the first one first; of each lane the chunks behind its tickets.
-- ARGV: worker id, lease ms, prefix of the tags, most messages, most seeds in all and of the first lane, most bytes of a
-- message, wake text, a number if this take is to begin with another than the first lane, else -1 (the number says whose
-- turn it is), text before a job's id in its ticket, prefixes of job records and of seeds, template of a message, text
-- before a tenant in its turn, prefix of the lists of tenants, of what is left of their turns, seeds of a turn.
-- Returns tag, lane, bytes, text and seeds of each, 0 if they are not known; a text that is too long is cut to that many
-- bytes, here and in the hash.
local MOST_PASSED = 1000 -- tickets of jobs that want nothing any more, in one step; the others are met in the next
local most, room, urgent, number, passed, taken = tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6]), 0, 0, {}
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('ZADD', KEYS[2], 'GT', string.format('%.0f', now + ARGV[2]), ARGV[1])
local lanes = (#KEYS - 2) / 2

-- Seeds of a job as producer/seeds.py packs them, between commas: some, from one on. Lua writes whole numbers of up to
-- 14 digits as such, here and below.
local function seeds_of(job, first, count)
  local key, seeds = ARGV[12] .. job, {}
  local start, step = string.match(redis.call('GETRANGE', key, 0, 40), '^(%d+)%.%.%d+%.*(%d*)$')
  if start then
    start, step = tonumber(start), tonumber(step) or 1
    for n = 1, count do
      seeds[n] = start + (first + n - 1) * step
    end
  else
    local digits = redis.call('GETRANGE', key, 8 * first, 8 * (first + count) - 1)
    for n = 1, count do
      seeds[n] = tonumber(string.sub(digits, 8 * n - 7, 8 * n), 16)
    end
  end
  return #seeds == count and table.concat(seeds, ',') or error('seeds are missing')
end

-- The next chunk of a job: its message, its seeds, its number, and how many are left behind it; nil if there is none.
local function next_chunk(job)
  local status, expires, sent, chunks, size, total, lane = unpack(redis.call('HMGET', ARGV[11] .. job,
    'status', 'expires_ms', 'sent', 'chunks', 'chunk_size', 'total', 'lane'))
  if (status ~= 'queued' and status ~= 'running') or now >= tonumber(expires) or tonumber(sent) >= tonumber(chunks) then
    return nil
  end
  local first = sent * size
  local count = math.min(size, total - first)
  local text = string.gsub(ARGV[13], '@(%l+)@', {
    task = chunks == '1' and job or (job .. '.' .. sent),
    job = job,
    innerjob = job,
    chunk = sent,
    count = count,
    seeds = seeds_of(job, first, count),
    priority = 3 * lane,
  })
  return {text = text, seeds = count, number = sent + 0, left = chunks - sent - 1}
end

-- A message whose seeds are not known counts by its length, less that of one without any.
local function keep(lane, text, bytes, seeds)
  local tag = ARGV[3] .. number
  redis.call('HSET', KEYS[1], tag, lane .. text)
  taken[#taken + 1] = {tag, KEYS[3 + lane], bytes, text, seeds}
  local weight = math.max(1, seeds > 0 and seeds or (bytes - 1200) / 16)
  number, room, urgent = number + 1, room - weight, urgent - (lane == 0 and weight or 0)
end

-- Take the next chunk of the job whose ticket is the next one in a list: a lane, or that of a tenant there.
local function take_of_job(lane, list, job)
  local known, chunk = pcall(next_chunk, job) -- a record that is none must not keep others from being taken
  local reason = not known and tostring(type(chunk) == 'table' and chunk.err or chunk)
  if reason and (string.find(reason, 'NOPERM') or string.find(reason, 'permission')) then
    error(reason) -- that is the user's fault, and no ticket's
  end
  local left = 0
  if known and chunk then
    keep(lane, chunk.text, #chunk.text, chunk.seeds)
    redis.call('HSET', ARGV[11] .. job, 'sent', chunk.number + 1)
    left = chunk.left
  else
    passed = passed + 1
  end
  local seeds = known and chunk and chunk.seeds or 0
  if left > 0 then
    redis.call('LMOVE', list, list, 'RIGHT', 'LEFT')
  else
    redis.call('RPOP', list)
  end
  if left > 1 then
    redis.call('HSET', KEYS[3 + lanes + lane], job, left - 1)
  else
    redis.call('HDEL', KEYS[3 + lanes + lane], job)
  end
  return seeds
end

-- The next ticket of a tenant's list; what is no ticket is let go of. Returns its job, nil if there is none.
local function ticket_of(list)
  local text = redis.pcall('LINDEX', list, -1)
  if type(text) == 'table' and not string.find(text.err, 'WRONGTYPE') then
    error(text.err)
  end
  local job = type(text) == 'string' and string.match(text, '^' .. ARGV[10] .. '([%w_-]+)$')
  if not job then
    redis.call(type(text) == 'string' and 'RPOP' or 'DEL', list)
    passed = passed + 1
  end
  return job
end

-- Take chunks of a tenant's jobs, as long as its turn has seeds left. A chunk of more is paid for by turns to come, unless
-- nobody else waits.
local function take_of_tenant(lane, tenant)
  local list, key, behind = ARGV[15] .. lane .. ':' .. tenant, KEYS[3 + lane], KEYS[3 + lanes + lane]
  local account = ARGV[16] .. lane .. ':' .. tenant
  local share = tonumber(ARGV[17])
  local left = tonumber(redis.call('GET', account) or share)
  if left <= 0 then
    left = math.min(share, left + share)
  end
  local alone = redis.call('LLEN', key) == 1
  while (left > 0 or alone) and number < most and (lane == 0 and urgent or room) > 0 and passed < MOST_PASSED
    and redis.call('EXISTS', list) == 1 do
    local job = ticket_of(list)
    left = left - (job and take_of_job(lane, list, job) or 0)
  end
  local length = redis.call('LLEN', list)
  if length == 0 then
    redis.call('RPOP', key)
  elseif left <= 0 then
    redis.call('LMOVE', key, key, 'RIGHT', 'LEFT')
  end
  redis.call('SET', account, string.format('%.0f', alone and share or left), 'PX', 60000)
  if length > 1 then
    redis.call('HSET', behind, ARGV[14] .. tenant, length - 1)
  else
    redis.call('HDEL', behind, ARGV[14] .. tenant)
  end
  passed = passed + (left <= 0 and 0.01 or 0) -- so that debts alone do not keep Redis busy for long
end

-- The lane to begin with: of those that have messages each in turn, beginning with the last.
local function first_lane(turn)
  local others = {}
  for lane = lanes - 1, turn < 0 and lanes or 1, -1 do
    if redis.call('LLEN', KEYS[3 + lane]) > 0 then
      others[#others + 1] = lane
    end
  end
  return #others > 0 and others[turn % #others + 1] or 0
end

local first = first_lane(tonumber(ARGV[9]))
for turn = 0, lanes - 1 do
  local lane = turn == 0 and first or turn <= first and turn - 1 or turn
  while number < most and (lane == 0 and urgent or room) > 0 and passed < MOST_PASSED do
    local text = redis.call('LINDEX', KEYS[3 + lane], -1)
    if not text then
      break
    end
    local job = string.match(text, '^' .. ARGV[10] .. '([%w_-]+)$')
    local tenant = string.match(text, '^' .. ARGV[14] .. '([%w_-]+)$')
    if job then
      take_of_job(lane, KEYS[3 + lane], job)
    elseif tenant then
      take_of_tenant(lane, tenant)
    else
      if text ~= ARGV[8] then
        keep(lane, string.sub(text, 1, ARGV[7]), #text, 0)
      else
        passed = passed + 1
      end
      redis.call('RPOP', KEYS[3 + lane])
    end
  end
end
if redis.call('LLEN', KEYS[3]) == 0 then
  for lane = 1, lanes - 1 do
    if redis.call('LLEN', KEYS[3 + lane]) > 0 then
      redis.call('RPUSH', KEYS[3], ARGV[8])
      break
    end
  end
end
return taken
