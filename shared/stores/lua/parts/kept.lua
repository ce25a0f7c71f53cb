-- Payloads and journals that are kept after their request has ended, within a budget of bytes: a part, like `turns`.
--
--   kept        (hash) bytes that are kept: `all` of them, and those of each slice of ten seconds in which keys expire. A slice is named by
--               its end, Unix ms
--   kept:<ms>   the keys that expire in that slice (list; each with its bytes after a space, the oldest first)
-- When the budget is exceeded, the oldest keys are deleted first. Keys for which a reader may still come are spared (the run's `read` says
-- when one came last): all of them up to twice the budget, only small ones up to three times, and then none. A journal that is being
-- written again is always spared. So memory stays bounded, and clients that read long answers slowly take room from each other, not from
-- everybody.
local SLICE_MS = 10000
local KEPT_LIVE_MS = 86400000
local LOOKED_AT_BY_ONE_CALL = 16
local SMALL_BYTES = 65536

local function slices()
  local names = {}
  for _, name in ipairs(redis.call('HKEYS', 'kept')) do
    if name ~= 'all' then
      names[#names + 1] = name
    end
  end
  table.sort(names) -- sorted as words: all have the same number of digits until the year 2286
  return names
end

local function forget_slice(slice)
  redis.call('HINCRBY', 'kept', 'all', -(redis.call('HGET', 'kept', slice) or 0))
  redis.call('HDEL', 'kept', slice)
end

-- Returns whether the key is the only one in its slice.
local function put(slice, name, bytes)
  local is_first = redis.call('RPUSH', 'kept:' .. slice, name .. ' ' .. bytes) == 1
  if is_first then
    redis.call('PEXPIREAT', 'kept:' .. slice, slice)
  end
  redis.call('HINCRBY', 'kept', slice, bytes)
  return is_first
end

local function keep(name, bytes, goes_at, now)
  local slice = string.format('%.0f', math.ceil(goes_at / SLICE_MS) * SLICE_MS)
  redis.call('HINCRBY', 'kept', 'all', bytes)
  if put(slice, name, bytes) then
    redis.call('PEXPIRE', 'kept', KEPT_LIVE_MS)
    for _, one in ipairs(slices()) do
      if tonumber(one) <= now then
        forget_slice(one)
      end
    end
  end
end

-- Whether to spare the key: a journal that is being written again, or one that somebody reads, as long as there is room for that.
local function is_needed(name, bytes, most, readers_ms, now)
  local id = string.match(name, '^journal:(.*)')
  if not id then
    return false
  end
  if redis.call('EXISTS', 'arq:job:' .. id) == 1 then
    return true
  end
  local read = redis.call('HGET', 'run:' .. id, 'read')
  local times = tonumber(bytes) > SMALL_BYTES and 2 or 3
  return read and tonumber(read) > now - readers_ms and tonumber(redis.call('HGET', 'kept', 'all')) <= times * most
end

local function make_room(most, readers_ms, now)
  local looked_at = 0
  local names = tonumber(redis.call('HGET', 'kept', 'all') or 0) > most and slices() or {}
  for _, slice in ipairs(names) do
    while looked_at < LOOKED_AT_BY_ONE_CALL and tonumber(redis.call('HGET', 'kept', 'all')) > most do
      local oldest = redis.call('LPOP', 'kept:' .. slice)
      if not oldest then
        forget_slice(slice)
        break
      end
      looked_at = looked_at + 1
      local name, bytes = string.match(oldest, '^(%S+) (%d+)$')
      redis.call('HINCRBY', 'kept', slice, -bytes)
      if is_needed(name, bytes, most, readers_ms, now) then
        put(names[#names], name, bytes)
      else
        redis.call('HINCRBY', 'kept', 'all', -bytes)
        redis.call('UNLINK', name)
      end
    end
  end
end
