-- Whose turn it is in a queue: a part, which stands in front of each script that says `with turns` in a comment line of its own.
--
-- The queue (sorted set: id by due time) alone says what is due. Beside it are, for the accounts' turns, small jobs and large ones apart
-- (`<class>` is "" or ":large"), because a worker may have no room in its memory for large ones:
--   line:<queue><class>:<account>   the account's jobs that wait (sorted set: id by due time)
--   turns:<queue><class>        the accounts that have such a line (sorted set: account by rank). The lowest rank is next: whoever has the fewest
--                               jobs running and, among equals, had a turn the longest ago
--   running:<queue>:<account>   its jobs that run (sorted set: id by the end of the lease)
--   served:<queue>              of those that have no line, who had a turn lately (sorted set: account by the time of the last one, Unix ms)
--   looked:<queue>              until when `claim` has looked for what came due by itself (string: Unix ms)
--   first:<queue>               the large job for which a worker had no room (string: id): no other large one is taken before it
--   held_up:<queue>             the workers that had none (set); who takes that job wakes them
-- Scripts of the previous release know the queue alone. So a line may name a job that is not due any more, or lack one that is: `claim`
-- asks the queue of the former and looks for the latter. Jobs of that release's front doors stand in the line of an account without name.
local ONE_RUNNING = 2 ^ 41 -- above every time in ms until 2039, and 4,095 of them are exact
local REMEMBERED_MS = 600000 -- who had no turn for so long goes first among equals
local HELD_UP_MS = 60000 -- a worker that is held up longer asks again by itself
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

-- When the account had its last turn, while it stands in no line of this class.
local function last_turn_of(queue, class, account, now)
  local rank = redis.call('ZSCORE', 'turns:' .. queue .. other_than(class), account)
  return rank and rank % ONE_RUNNING or redis.call('ZSCORE', 'served:' .. queue, account) or now - REMEMBERED_MS
end

-- `look_again`: some of the account's jobs may run no more, for their leases lapsed.
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

-- Nobody stands in its line any more; the last turn is remembered.
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

-- A worker has no room for this job: no other large one is taken before it, and who takes it wakes that worker.
local function hold_up(queue, id, worker)
  redis.call('SET', 'first:' .. queue, id, 'PX', REMEMBERED_MS)
  redis.call('SADD', 'held_up:' .. queue, worker)
  redis.call('PEXPIRE', 'held_up:' .. queue, HELD_UP_MS)
end

-- It has been taken, or is gone: whoever it held up, but for the worker that says so, is to look again.
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
