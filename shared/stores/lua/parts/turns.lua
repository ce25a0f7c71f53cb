-- Which account's turn it is in a queue: a part, which is put in front of each script that has the comment line `include parts/turns.lua`.
--
-- Only the queue (sorted set: id by due time) says which jobs are due. Beside it there are these keys for the accounts' turns. Small and
-- large jobs are kept apart (`<class>` is "" or ":large"), because a worker may have no room in its memory for large ones:
--   line:<queue><class>:<account>   the account's jobs that wait (sorted set: id by due time)
--   turns:<queue><class>        the accounts that have such a line (sorted set: account by rank). The lowest rank is next: whoever has the fewest
--                               jobs running and, among equals, had a turn the longest ago
--   running:<queue>:<account>   its jobs that run (sorted set: id by the end of the lease)
--   served:<queue>              accounts without a line that had a turn lately (sorted set: account by the time of its last turn, Unix ms)
--   looked:<queue>              up to which due time `claim` has looked for jobs that came due by themselves (string: Unix ms)
--   first:<queue>               the large job for which a worker had no room (string: id): no other large one is taken before it
--   held_up:<queue>             the workers that had no room for it (set); the worker that takes the job wakes them
-- Scripts of the previous release know only the queue. So a line may name a job that is not due any more, or lack one that is: `claim`
-- checks each job of a line in the queue, and looks in the queue for jobs that no line has. Jobs of that release's front doors stand in
-- the line of an account without a name.
local ONE_RUNNING = 2 ^ 41 -- above every Unix time in ms until 2039; a rank with up to 4,095 of them is exact as a double
local REMEMBERED_MS = 600000 -- an account that had no turn for this long goes first among equals
local HELD_UP_MS = 60000 -- a worker that is held up longer looks again by itself
local SMALL, LARGE = '', ':large'

local function other_than(class)
  return class == SMALL and LARGE or SMALL
end

local function line_of(queue, class, account)
  return 'line:' .. queue .. class .. ':' .. account
end

local function stand_for_turn(queue, class, account, now, last_turn)
  local running = redis.call('ZCOUNT', 'running:' .. queue .. ':' .. account, '(' .. now, '+inf')
  redis.call('ZADD', 'turns:' .. queue .. class, running * ONE_RUNNING + last_turn, account)
end

-- When an account that stands in no line of this class had its last turn.
local function last_turn_of(queue, class, account, now)
  local rank = redis.call('ZSCORE', 'turns:' .. queue .. other_than(class), account)
  return rank and rank % ONE_RUNNING or redis.call('ZSCORE', 'served:' .. queue, account) or now - REMEMBERED_MS
end

-- With `look_again`, the account's running jobs are counted anew, because the leases of some may have lapsed.
local function stand_in_line(queue, class, account, id, due, now, look_again)
  if redis.call('ZADD', line_of(queue, class, account), due, id) == 1 then
    local rank = redis.call('ZSCORE', 'turns:' .. queue .. class, account)
    if not rank then
      stand_for_turn(queue, class, account, now, last_turn_of(queue, class, account, now))
    elseif look_again then
      stand_for_turn(queue, class, account, now, rank % ONE_RUNNING)
    end
  end
end

-- The account's line is empty: take it out of the turns, and remember its last turn.
local function leave_turns(queue, class, account, now, last_turn)
  redis.call('ZREM', 'turns:' .. queue .. class, account)
  if last_turn > now - REMEMBERED_MS then
    redis.call('ZADD', 'served:' .. queue, last_turn, account)
    redis.call('PEXPIRE', 'served:' .. queue, REMEMBERED_MS)
  end
end

local function leave_line(queue, class, account, id, now)
  local line = line_of(queue, class, account)
  redis.call('ZREM', line, id)
  local rank = redis.call('EXISTS', line) == 0 and redis.call('ZSCORE', 'turns:' .. queue .. class, account)
  if rank then
    leave_turns(queue, class, account, now, rank % ONE_RUNNING)
  end
end

local function run_until(queue, account, id, lease_end, lease)
  local running = 'running:' .. queue .. ':' .. account
  redis.call('ZADD', running, lease_end, id)
  redis.call('PEXPIRE', running, lease)
end

local function stop_running(queue, account, id)
  if redis.call('ZREM', 'running:' .. queue .. ':' .. account, id) == 1 then
    local time = redis.call('TIME')
    for _, class in ipairs({ SMALL, LARGE }) do
      local rank = redis.call('ZSCORE', 'turns:' .. queue .. class, account)
      if rank then
        stand_for_turn(queue, class, account, time[1] * 1000 + math.floor(time[2] / 1000), rank % ONE_RUNNING)
      end
    end
  end
end

-- A worker has no room for this job: no other large job is taken before it, and the worker that takes it wakes this one.
local function hold_up(queue, id, worker)
  redis.call('SET', 'first:' .. queue, id, 'PX', REMEMBERED_MS)
  redis.call('SADD', 'held_up:' .. queue, worker)
  redis.call('PEXPIRE', 'held_up:' .. queue, HELD_UP_MS)
end

-- The job has been taken, or is gone: wake the workers that it held up, except for the calling one, to look again.
local function let_pass(queue, id, worker)
  if redis.call('GET', 'first:' .. queue) ~= id then
    return
  end
  redis.call('DEL', 'first:' .. queue)
  for _, waiting in ipairs(redis.call('SMEMBERS', 'held_up:' .. queue)) do
    if waiting ~= worker then
      redis.call('LPUSH', 'bell:' .. waiting, queue)
      redis.call('LTRIM', 'bell:' .. waiting, 0, 7)
      redis.call('PEXPIRE', 'bell:' .. waiting, HELD_UP_MS)
    end
  end
  redis.call('DEL', 'held_up:' .. queue)
end
