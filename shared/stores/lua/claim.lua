-- Take due jobs, each for one lease, in the queues' order of priority. Within a queue accounts take turns: next is the oldest
-- job of the account with the fewest running jobs.
--
-- A large job is taken only if the worker has room for it in its memory or runs no other large job. Otherwise it becomes the
-- queue's next large job for all workers, and this worker takes no large job until it has room for that one: so other large
-- jobs do not pass it, while small ones do.
--
-- A job whose lease has lapsed is due again, so the jobs of a dead worker are taken over here, too. Every claim raises the
-- job's epoch and writes its owner beside it: together they are the fence, which all later writes of this claim must show. The
-- epoch alone would not do, because a Redis that failed over and lost a claim gives the next claim the same number.
--
-- A job is dropped when it has no payload or has a tombstone, or when it has just been done (a cron job that a second worker
-- enqueued again).
-- include parts/payloads.lua
-- include parts/turns.lua
--
-- KEYS  the queues (sorted sets: id by due time), highest priority first
-- ARGV  1 owner: a word that no other call of this script has; all jobs of this call share it   2 lease, ms   3 most jobs in all
--       4 Redis time after which nothing is claimed, ms, because the worker no longer waits for the answer; 0 for no limit
--       5 most bytes of payloads in the answer   6 the worker   7 largest small payload, bytes
--       8 memory that large payloads may take, bytes   9 1 when the worker runs no large job, which then may be of any size, else 0
--       10… three for each queue: most jobs of its provider (a batch queue may get fewer than an interactive one); most jobs of its
--       lane, the same number for all queues of a lane (batch and flex are one lane here); bytes of memory that a byte of a payload
--       takes. A queue that gets 0 jobs only hands its ring on: where a job is due, its bell rings afterwards for another worker
-- returns a flat list of { Redis time in ms, the queue whose large job found no room, else "", then for each job: queue, id, epoch, due
--           time before the claim, payload, how often it was started, 1 if somebody asked to abort it, else 0, and the bytes that it
--           counts if it is large, else 0 }. A payload for which the answer has no room is empty, and its job does not count as started:
--           the worker fetches payload, starts and abort mark of such a job by itself.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local lease = tonumber(ARGV[2])
local left = tonumber(ARGV[3])
local room = {}
local patiently_taken = {} -- how many jobs of batch and flex this claim has taken, by provider
local claimed = { now, '' }
local bytes = tonumber(ARGV[5])
local worker, small_max = ARGV[6], tonumber(ARGV[7])
local memory, alone = tonumber(ARGV[8]), ARGV[9] == '1'
local held_up = false
local PARAMETERS_BEFORE = 9
local LOOKED_AT_MAX = 1000 -- jobs in one queue's lines per claim, in case the lines name many that are not due any more
local LOOK_AGAIN_MS = 60000 -- how often to look at all due jobs, instead of only at those that came due since the last claim

if tonumber(ARGV[4]) > 0 and now > tonumber(ARGV[4]) then
  return claimed
end

local function one_due(queue)
  return redis.call('ZRANGEBYSCORE', queue, '-inf', now, 'LIMIT', 0, 1)[1]
end

-- Put due jobs into their accounts' lines: those whose deferral or lease has ended, and those of front doors of the previous release,
-- which knows no lines.
local function fill_lines(queue, since)
  local due = redis.call('ZRANGEBYSCORE', queue, since, now, 'WITHSCORES')
  for i = 1, #due, 2 do
    local run = redis.call('HMGET', 'run:' .. due[i], 'account', 'bytes', 'large')
    local account = run[1] or ''
    local size, large, is_news = noted(due[i], run, small_max)
    if is_news then
      add_bytes(queue, account, size, large)
    end
    stand_in_line(queue, large == '1' and LARGE or SMALL, account, due[i], due[i + 1], now, true)
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

-- Claims one due job and adds it to the answer. False, and the job is dropped, if it has no payload, a tombstone, or was just done.
local function claim(queue, class, account, id, due, size, counts)
  local run = 'run:' .. id
  local mark = 'arq:in-progress:' .. id
  if size == 0 or redis.call('HEXISTS', run, 'dead') == 1 or redis.call('GET', mark) == 'done' then
    leave_queue(queue, id, account, unpack(redis.call('HMGET', run, 'bytes', 'large')))
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
  -- arq sets a job's due time to 1 just before it asks to abort it. The worker looks such a job up later, when the ask will be there.
  if size <= bytes and tonumber(due) > 1 then
    bytes = bytes - size
    payload = redis.call('GET', 'arq:job:' .. id)
    starts = redis.call('INCR', 'arq:retry:' .. id)
    redis.call('EXPIRE', 'arq:retry:' .. id, 88400) -- arq's own number
    aborted = redis.call('ZSCORE', 'arq:abort', id) and 1 or 0 -- the ask is forgotten when the job is finished
  end
  for _, value in ipairs({ queue, id, epoch, due, payload, starts, aborted, class == LARGE and counts or 0 }) do
    claimed[#claimed + 1] = value
  end
  return true
end

local function oldest_of(queue, class, account)
  return unpack(redis.call('ZRANGE', line_of(queue, class, account), 0, 0, 'WITHSCORES'))
end

-- The queue's next large job: returns its account, the account's rank, and its id if it has been held up.
local function next_large(queue)
  local id = redis.call('GET', 'first:' .. queue)
  if id then
    local account = redis.call('HGET', 'run:' .. id, 'account') or ''
    if redis.call('ZSCORE', line_of(queue, LARGE, account), id) then
      return account, redis.call('ZSCORE', 'turns:' .. queue .. LARGE, account) or 0, id
    end
    let_pass(queue, id, worker)
  end
  return unpack(redis.call('ZRANGE', 'turns:' .. queue .. LARGE, 0, 0, 'WITHSCORES'))
end

-- Whose turn is next: returns class, account, the account's rank, and the job's id if it is known already.
local function next_in_turn(queue, with_large)
  local account, rank = unpack(redis.call('ZRANGE', 'turns:' .. queue .. SMALL, 0, 0, 'WITHSCORES'))
  if not with_large then
    return SMALL, account, rank
  end
  local other, its_rank, id = next_large(queue)
  if not other or not account then
    return other and LARGE or SMALL, other or account, other and its_rank or rank, id
  end
  local sooner = tonumber(its_rank) - tonumber(rank)
  if sooner == 0 and other == account then -- jobs of one account keep their order
    local _, due_of_large = oldest_of(queue, LARGE, account)
    local _, due_of_small = oldest_of(queue, SMALL, account)
    sooner = (due_of_large or 0) - (due_of_small or 0)
  elseif sooner == 0 then
    sooner = other < account and -1 or 1
  end
  if id or sooner < 0 then
    return LARGE, other, its_rank, id
  end
  return SMALL, account, rank
end

-- Look up the job whose turn it is; a small one leaves its account's line. Returns its id, and if it is due its due time, the bytes of its
-- payload and the bytes that it counts.
local function look_up(queue, class, account, id)
  if class == SMALL then
    id = redis.call('ZPOPMIN', line_of(queue, SMALL, account))[1]
  else
    id = id or oldest_of(queue, LARGE, account)
  end
  local due = id and redis.call('ZSCORE', queue, id)
  if not due or tonumber(due) > now then
    return id
  end
  local size = redis.call('STRLEN', 'arq:job:' .. id)
  return id, due, size, math.max(size, tonumber(redis.call('HGET', 'run:' .. id, 'bytes') or 0))
end

-- Claim the job if it is due; a large one leaves its account's line. Returns whether it was claimed.
local function take(queue, class, account, id, due, size, counts, copies)
  if id and class == LARGE then
    redis.call('ZREM', line_of(queue, LARGE, account), id)
  end
  local is_taken = due and claim(queue, class, account, id, due, size, counts)
  if class == LARGE then
    if is_taken then
      memory = memory - counts * copies
      alone = false
    end
    let_pass(queue, id, worker)
  end
  return is_taken
end

-- Give the account its place for the next turn: behind the others if this was its turn, and none if its line is empty.
local function end_turn(queue, class, account, last_turn, with_large)
  if redis.call('EXISTS', line_of(queue, class, account)) == 0 then
    leave_turns(queue, class, account, now, last_turn)
  elseif last_turn == now then
    stand_for_turn(queue, class, account, now, now)
  end
  if last_turn == now and with_large and redis.call('ZSCORE', 'turns:' .. queue .. other_than(class), account) then
    stand_for_turn(queue, other_than(class), account, now, now)
  end
end

-- Claim up to `want` jobs, each from the account whose turn it is at that point; returns how many.
local function take_turns(queue, want, copies)
  local with_large = redis.call('EXISTS', 'turns:' .. queue .. LARGE) == 1
  local taken, looked_at = 0, 0
  while taken < want and looked_at < LOOKED_AT_MAX do
    local class, account, rank, known_id = next_in_turn(queue, with_large and not held_up)
    if not account then
      break
    end
    looked_at = looked_at + 1
    local id, due, size, counts = look_up(queue, class, account, known_id)
    if due and class == LARGE and not alone and size > 0 and counts * copies > memory then
      held_up = true
      claimed[2] = queue
      hold_up(queue, id, worker)
    else
      local is_taken = take(queue, class, account, id, due, size, counts, copies)
      taken = taken + (is_taken and 1 or 0)
      end_turn(queue, class, account, is_taken and now or rank % ONE_RUNNING, with_large)
    end
  end
  return taken
end

local function ring(bell, id)
  if redis.call('EXISTS', bell) == 0 then
    redis.call('LPUSH', bell, id)
  end
end

-- Ring for the due jobs that were left behind, so that a worker with room comes; where none is left, take the rings back. Small jobs ring
-- the queue's bell, as all new jobs do. Large jobs ring another bell, on which a worker without room for them does not wait.
local function leave_bells(queue, waiting, has_looked)
  local bell, large_bell = 'bell:' .. queue, 'bell:' .. queue .. LARGE
  if not waiting then
    redis.call('DEL', bell, large_bell)
    return
  end
  local large = redis.call('EXISTS', 'turns:' .. queue .. LARGE) == 1
  if large and has_looked and redis.call('EXISTS', 'turns:' .. queue .. SMALL) == 0 then
    redis.call('DEL', bell)
  else
    ring(bell, waiting)
  end
  if large then
    ring(large_bell, waiting)
  else
    redis.call('DEL', large_bell)
  end
end

for number, queue in ipairs(KEYS) do
  local provider, lane = string.match(queue, '^q:(.-):(.*)$')
  local patient = lane ~= 'interactive'
  lane = patient and 'batch' or lane -- batch and flex share one limit, which leaves slots for interactive requests
  local a = PARAMETERS_BEFORE + 3 * number
  local most, copies = tonumber(ARGV[a - 2]), tonumber(ARGV[a])
  room[provider] = room[provider] or most
  if patient then
    most = most - (patiently_taken[provider] or 0)
  end
  room[lane] = room[lane] or tonumber(ARGV[a - 1])
  local want = math.max(0, math.min(left, room[provider], room[lane], most))
  local waiting = one_due(queue)
  local has_looked = waiting and want > 0
  if has_looked then
    redis.call('ZREMRANGEBYSCORE', 'served:' .. queue, '-inf', now - REMEMBERED_MS)
    fill_lines_with_news(queue)
    local taken = take_turns(queue, want, copies)
    waiting = one_due(queue)
    if waiting and taken < want and not held_up then -- a clock that stepped back or arq's due time 1 hides jobs from the first look
      fill_lines(queue, '-inf')
      taken = taken + take_turns(queue, want - taken, copies)
      waiting = one_due(queue)
    end
    left = left - taken
    room[provider] = room[provider] - taken
    room[lane] = room[lane] - taken
    if patient then
      patiently_taken[provider] = (patiently_taken[provider] or 0) + taken
    end
  end
  leave_bells(queue, waiting, has_looked)
end
return claimed
