-- Take due jobs, in the queues' order of priority, each for one lease. Within a queue accounts take turns: next is the oldest job of the
-- account with the fewest jobs running. A job whose lease lapsed is due again, so this is also how the jobs of a dead worker are taken over. Every claim raises the job's epoch and writes its owner beside it: the fence
-- that all later effects of this claim must show. The epoch alone would not do: a Redis that failed over and lost a claim
-- counts the next one with the same number. A job without a payload, with a tombstone, or that has just been done (a cron job that a
-- second worker enqueued again), is dropped.
-- with turns
--
-- KEYS  the queues (sorted sets: id by due time), highest priority first
-- ARGV  1 owner: a word that no other claim has   2 lease, ms   3 most jobs in all
--       4 not after this Redis time, ms: the worker does not wait for the answer any more; 0 for no limit
--       5 most bytes of payloads in the answer
--       6… for each queue two: most jobs of its provider, of which a batch queue may get less than an interactive one, and most
--       jobs of its lane, the same for all queues that share one. A queue with 0 only hands its ring on: where a job is due,
--       its bell rings afterwards for another worker
-- returns a flat list of { Redis time in ms, then for each job: queue, id, epoch, due time before the claim, payload, how often
--           it was started, 1 if somebody asked to abort it, else 0 }. A payload for which there is no room is empty, and the
--           job not counted as started: then whoever runs it asks for the rest by itself.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local lease = tonumber(ARGV[2])
local left = tonumber(ARGV[3])
local room = {}
local claimed = { now }
local bytes = tonumber(ARGV[5])
local LOOKED_AT_MAX = 1000 -- of one queue's lines by one claim, should they name many jobs that are not due any more
local LOOK_AGAIN_MS = 60000 -- so often at all that is due, and not only at what came due since the last claim

if tonumber(ARGV[4]) > 0 and now > tonumber(ARGV[4]) then
  return claimed
end

local function one_due(queue)
  return redis.call('ZRANGEBYSCORE', queue, '-inf', now, 'LIMIT', 0, 1)[1]
end

-- Deferrals and leases end by themselves, and front doors of the previous release know no lines.
local function fill_lines(queue, since)
  local due = redis.call('ZRANGEBYSCORE', queue, since, now, 'WITHSCORES')
  for i = 1, #due, 2 do
    stand_in_line(queue, redis.call('HGET', 'run:' .. due[i], 'account') or '', due[i], due[i + 1], now, true)
  end
end

local function fill_lines_with_news(queue)
  local looked = 'looked:' .. queue
  local since = redis.call('GET', looked)
  fill_lines(queue, since or '-inf')
  if since then
    redis.call('SET', looked, now, 'KEEPTTL')
  else
    redis.call('SET', looked, now, 'PX', LOOK_AGAIN_MS)
  end
end

-- Whether it was: else it is dropped.
local function claim(queue, account, id, due)
  local run = 'run:' .. id
  local mark = 'arq:in-progress:' .. id
  if redis.call('EXISTS', 'arq:job:' .. id) == 0 or redis.call('HEXISTS', run, 'dead') == 1
    or redis.call('GET', mark) == 'done' then
    redis.call('ZREM', queue, id)
    redis.call('DEL', 'arq:job:' .. id)
    return false
  end
  local epoch = redis.call('HINCRBY', run, 'epoch', 1)
  redis.call('HSET', run, 'owner', ARGV[1], 'queue', queue)
  if redis.call('PTTL', run) == -1 then
    redis.call('PEXPIRE', run, 86400000)
  end
  redis.call('ZADD', queue, now + lease, id)
  redis.call('SET', mark, ARGV[1] .. ':' .. epoch, 'PX', lease)
  run_until(queue, account, id, now + lease, lease)
  local payload, starts, aborted = '', 0, 0
  local size = redis.call('STRLEN', 'arq:job:' .. id)
  -- arq makes a job due at 1 just before it asks to abort it: the later that is looked up, the better
  if size <= bytes and tonumber(due) > 1 then
    bytes = bytes - size
    payload = redis.call('GET', 'arq:job:' .. id)
    starts = redis.call('INCR', 'arq:retry:' .. id)
    redis.call('EXPIRE', 'arq:retry:' .. id, 88400) -- arq's own number
    aborted = redis.call('ZSCORE', 'arq:abort', id) and 1 or 0 -- the ask is forgotten when the job is finished
  end
  for _, value in ipairs({ queue, id, epoch, due, payload, starts, aborted }) do
    claimed[#claimed + 1] = value
  end
  return true
end

-- Claim up to `want` jobs, each of the account whose turn it is then; returns how many.
local function take_turns(queue, want)
  local turns = 'turns:' .. queue
  local taken, looked_at = 0, 0
  while taken < want and looked_at < LOOKED_AT_MAX do
    local account, rank = unpack(redis.call('ZRANGE', turns, 0, 0, 'WITHSCORES'))
    if not account then
      break
    end
    looked_at = looked_at + 1
    local line = 'line:' .. queue .. ':' .. account
    local last_turn = rank % ONE_RUNNING
    local id = redis.call('ZPOPMIN', line)[1]
    local due = id and redis.call('ZSCORE', queue, id)
    if due and tonumber(due) <= now and claim(queue, account, id, due) then
      taken = taken + 1
      last_turn = now
    end
    if redis.call('EXISTS', line) == 0 then
      leave_turns(queue, account, now, last_turn)
    elseif last_turn == now then
      stand_for_turn(queue, account, now, now)
    end
  end
  return taken
end

for number, queue in ipairs(KEYS) do
  local provider, lane = string.match(queue, '^q:(.-):(.*)$')
  room[provider] = room[provider] or tonumber(ARGV[4 + 2 * number])
  room[lane] = room[lane] or tonumber(ARGV[5 + 2 * number])
  local want = math.min(left, room[provider], room[lane], tonumber(ARGV[4 + 2 * number]))
  local waiting = one_due(queue)
  if waiting and want > 0 then
    redis.call('ZREMRANGEBYSCORE', 'served:' .. queue, '-inf', now - REMEMBERED_MS)
    fill_lines_with_news(queue)
    local taken = take_turns(queue, want)
    waiting = one_due(queue)
    if waiting and taken < want then -- clocks step back, and arq has jobs due at 1
      fill_lines(queue, '-inf')
      taken = taken + take_turns(queue, want - taken)
      waiting = one_due(queue)
    end
    left = left - taken
    room[provider] = room[provider] - taken
    room[lane] = room[lane] - taken
  end
  if not waiting then
    redis.call('DEL', 'bell:' .. queue) -- all that is due is taken: whoever was rung for it need not come
  elseif redis.call('EXISTS', 'bell:' .. queue) == 0 then
    redis.call('LPUSH', 'bell:' .. queue, waiting) -- what stays behind rings for a worker that has room
  end
end
return claimed
