-- What outlives its request, within a budget: a part, as `turns`.
--
--   kept        (hash) bytes of what is kept: `all` of it, and of each slice of ten seconds in which some of it goes by itself, named by its end,
--               Unix ms
--   kept:<ms>   what goes by itself in that slice (list of keys, each with its bytes after a space, the oldest first)
-- When all of it is too much, the oldest goes first. What a reader may still come for is passed over (the run's `read` says when one did),
-- but at twice too much only what is small, and at three times nothing: so long as memory is bounded, whoever reads long answers slowly
-- takes it from others who do, and not from everybody.
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
  table.sort(names) -- of as many digits until 2286
  return names
end

local function forget_slice(slice)
  redis.call('HINCRBY', 'kept', 'all', -(redis.call('HGET', 'kept', slice) or 0))
  redis.call('HDEL', 'kept', slice)
end

-- Whether it is the only thing in its slice.
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

-- Whether it is a journal that is written once more, or that somebody reads, as long as there is room for that.
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
