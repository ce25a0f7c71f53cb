-- Put one job into its queue and into its account's line, or say why not. Safe to repeat: for a job that is there already, or
-- that was there and has ended, the outcome is `ok` and it counts once.
--
-- A queue is full by the number of waiting jobs or by the bytes of the payloads that wait or run. A full queue takes new jobs
-- only from accounts that have less than their share of it, and from nobody once it is filled twice over. Small payloads use a
-- reserve of bytes first. The last bytes before twice the size are for newcomers: accounts that have no large job in the queue.
-- A job that is put back was admitted before, so no limit applies to it.
-- include parts/payloads.lua
-- include parts/turns.lua
-- include parts/rate.lua
--
-- KEYS  1 queue (sorted set: id by due time)   2 arq job (string: payload)   3 run (hash)   4 bell (list)
--       5 rate limit of the API key (string: theoretical arrival time, ms)   6 journal (list of events)
--       7 staged payload (see `stage.lua`), if it is large; it is gone afterwards
-- ARGV  1 id   2 payload; its length if it is staged   3 time to live of job and run, ms   4 deadline, Unix ms   5 channel of the front door
--       6 waiting jobs at which a queue is full   7 requests per minute, 0 for no limit   8 lowest epoch: more than 0 to put back a
--       job that Redis has lost; then the outcome is `ok`, too, if the job has a journal after all
--       9 Redis time after which nothing is enqueued, ms, because the caller has given up by then; 0 for no limit   10 account
--       11 largest small payload, bytes   12 bytes at which a queue is full   13 reserve of bytes for small payloads
--       14 least bytes that the payload counts, for one that is staged or takes more memory than its length suggests
--       15 bytes of a full queue that are for newcomers   16 1 if another model may serve the job, else 0
-- returns { "ok" | "full" | "bytes" | "rate" | "dead" | "late", wait ms, requests remaining, ms until the rate limit is full again,
--           Redis time, ms }
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local queue, id, account = KEYS[1], ARGV[1], ARGV[10]
local size, small_max = math.max(#ARGV[2], tonumber(ARGV[14])), tonumber(ARGV[11])
local class = size > small_max and LARGE or SMALL

local function finds_no_place()
  local depth, waiting = tonumber(ARGV[6]), redis.call('ZCOUNT', queue, '-inf', now)
  if waiting < depth then
    return false
  end
  local own = redis.call('ZCARD', line_of(queue, SMALL, account)) + redis.call('ZCARD', line_of(queue, LARGE, account))
  local small, large = 'turns:' .. queue .. SMALL, 'turns:' .. queue .. LARGE
  local accounts = redis.call('ZCARD', small) + redis.call('ZCARD', large) - #redis.call('ZINTER', 2, small, large)
  return own >= math.max(1, math.floor(depth / accounts)) or waiting >= 2 * depth
end

local function sums_of_bytes()
  local sums = redis.call('HMGET', 'bytes:' .. queue, ':0', ':1', account, ':counted')
  local since = now - (sums[4] or 0)
  if since >= 0 and since < COUNT_AGAIN_MS then
    return sums
  end
  count_anew(queue, small_max, now)
  return redis.call('HMGET', 'bytes:' .. queue, ':0', ':1', account)
end

local function finds_no_room(sums)
  local most, reserve, for_newcomers = tonumber(ARGV[12]), tonumber(ARGV[13]), tonumber(ARGV[15])
  local small = sums[1] + (class == SMALL and size or 0)
  local taken = sums[2] + (class == LARGE and size or 0) + math.max(0, small - reserve) -- small payloads fill the reserve first
  if taken <= most or class == SMALL and small <= reserve then
    return false
  end
  local own = tonumber(sums[3] or 0)
  if own <= small_max then -- a newcomer: an account with a large job has more
    return taken > 2 * most
  end
  local accounts = math.max(1, redis.call('HLEN', 'bytes:' .. queue) - NO_ACCOUNTS)
  return own >= most / accounts or taken > 2 * most - for_newcomers
end

local remaining, reset = 0, 0

local function outcome_without_the_job()
  if redis.call('HEXISTS', KEYS[3], 'dead') == 1 then
    return 'dead', 0
  end
  local has_run
  if tonumber(ARGV[8]) > 0 then
    has_run = redis.call('EXISTS', KEYS[6]) == 1
  else
    has_run = redis.call('HEXISTS', KEYS[3], 'deadline') == 1
  end
  if has_run or redis.call('EXISTS', KEYS[2]) == 1 then
    return 'ok', 0
  end
  if tonumber(ARGV[9]) > 0 and now > tonumber(ARGV[9]) then
    return 'late', 0
  end
  if KEYS[7] and redis.call('STRLEN', KEYS[7]) ~= tonumber(ARGV[2]) then -- Redis has lost some of it, or a piece came again too late
    return 'late', 0
  end
  local sums = sums_of_bytes()
  if tonumber(ARGV[8]) == 0 then
    if finds_no_place() then
      return 'full', 0
    elseif finds_no_room(sums) then
      return 'bytes', 0
    end
  end
  local rpm, wait = tonumber(ARGV[7]), 0
  if rpm > 0 then
    wait, remaining, reset = take(KEYS[5], rpm, now)
  end
  if wait > 0 then
    return 'rate', wait
  end
end

local outcome, wait = outcome_without_the_job()
if outcome then
  if KEYS[7] then
    redis.call('UNLINK', KEYS[7])
  end
  return { outcome, wait, 0, reset, now }
end

if KEYS[7] then
  redis.call('RENAME', KEYS[7], KEYS[2])
  redis.call('PEXPIRE', KEYS[2], ARGV[3])
else
  redis.call('SET', KEYS[2], ARGV[2], 'PX', ARGV[3])
end
local before = redis.call('HMGET', KEYS[3], 'channel', 'bytes', 'large')
local channels = before[1] or ''
if not string.find(' ' .. channels .. ' ', ' ' .. ARGV[5] .. ' ', 1, true) then
  channels = channels == '' and ARGV[5] or channels .. ' ' .. ARGV[5]
end
local large = class == LARGE and '1' or '0'
redis.call('HSET', KEYS[3], 'deadline', ARGV[4], 'channel', channels, 'account', account, 'bytes', size, 'large', large,
  'goes_on', ARGV[16])
if tonumber(ARGV[8]) > 0 then
  redis.call('HSET', KEYS[3], 'epoch', ARGV[8])
  redis.call('HDEL', KEYS[3], 'queue') -- the job may have been moved to another queue before it was lost
end
redis.call('PEXPIRE', KEYS[3], ARGV[3])
if redis.call('ZADD', queue, now, id) == 0 and before[2] then -- only the payload was lost: the job still counts in the queue's bytes
  add_bytes(queue, account, -before[2], before[3])
end
add_bytes(queue, account, size, large)
stand_in_line(queue, class, account, id, now, now)
redis.call('LPUSH', KEYS[4], id)
redis.call('LTRIM', KEYS[4], 0, 255)
return { 'ok', 0, remaining, reset, now }
