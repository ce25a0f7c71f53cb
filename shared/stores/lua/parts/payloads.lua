-- How many bytes the payloads of a queue have: a part, like `turns`.
--
--   bytes:<queue>   (hash) for each account the bytes of its payloads that wait or run; in `:0` those of all small payloads, in `:1` those
--                   of all large ones, and in `:counted` when they were last counted from the queue itself, Unix ms
-- A job counts as long as it is in its queue. Its run has the number: `bytes`, and `large`, which is "1" or "0". Scripts of the previous
-- release count nothing, so `enqueue` counts the queue anew every minute.
local COUNT_AGAIN_MS = 60000
local NO_ACCOUNTS = 3 -- fields of the hash that are not accounts

local function add_bytes(queue, account, bytes, large)
  local sums = 'bytes:' .. queue
  redis.call('HINCRBY', sums, ':' .. large, bytes)
  if redis.call('HINCRBY', sums, account, bytes) <= 0 then
    redis.call('HDEL', sums, account)
    if redis.call('HLEN', sums) <= NO_ACCOUNTS then
      redis.call('DEL', sums)
    end
  end
end

-- Returns the bytes of a job's payload, whether it is a large one, and whether this was not noted in the run before: then a front door of
-- the previous release has enqueued it. `run` has the fields `account`, `bytes` and `large` of the job's run.
local function noted(id, run, small_max)
  if run[2] then
    return run[2], run[3], false
  end
  local bytes = redis.call('STRLEN', 'arq:job:' .. id)
  local large = bytes > small_max and '1' or '0'
  if redis.call('EXISTS', 'run:' .. id) == 0 then
    return bytes, large, false
  end
  redis.call('HSET', 'run:' .. id, 'bytes', bytes, 'large', large)
  return bytes, large, true
end

-- Take the job out of its queue.
local function leave_queue(queue, id, account, bytes, large)
  if redis.call('ZREM', queue, id) == 1 and bytes then
    add_bytes(queue, account, -bytes, large)
  end
end

local function count_anew(queue, small_max, now)
  local sums = { [':0'] = 0, [':1'] = 0 }
  for _, id in ipairs(redis.call('ZRANGE', queue, 0, -1)) do
    local run = redis.call('HMGET', 'run:' .. id, 'account', 'bytes', 'large')
    local bytes, large, news = noted(id, run, small_max)
    if run[2] or news then
      local account = run[1] or ''
      sums[account] = (sums[account] or 0) + bytes
      sums[':' .. large] = sums[':' .. large] + bytes
    end
  end
  redis.call('DEL', 'bytes:' .. queue)
  for name, bytes in pairs(sums) do
    redis.call('HSET', 'bytes:' .. queue, name, bytes)
  end
  redis.call('HSET', 'bytes:' .. queue, ':counted', now)
end
