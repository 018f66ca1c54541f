-- The keys of a queue's own: of the default one, which is "default", "" or nil, or of another by its name. Stands before
-- the scripts that begin with "With names.lua"; producer/queue_keys.py has the same.
local function is_default(queue)
  return not queue or queue == '' or queue == '@DEFAULT_QUEUE@'
end

local function own_key(queue, rest)
  return (is_default(queue) and 'seedmill:' or ('@QUEUE_KEY_PREFIX@' .. queue .. ':')) .. rest
end

local function lane_key(queue, lane)
  local first = is_default(queue) and '@QUEUE@' or ('@QUEUE@.' .. queue)
  return tonumber(lane) == 0 and first or (first .. '\6\22' .. 3 * lane)
end

-- Hash of the chunks behind the tickets of a lane.
local function behind_key(queue, lane)
  return own_key(queue, 'behind:' .. 3 * lane)
end

-- List of the tickets of a tenant's jobs in a lane.
local function turns_key(queue, lane, tenant)
  return own_key(queue, 'turns:' .. lane .. ':' .. tenant)
end

