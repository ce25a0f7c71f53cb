-- Whose turn it is in a queue: a part, which stands in front of each script that says `with turns` in a comment line of its own.
--
-- The queue (sorted set: id by due time) alone says what is due. Beside it are, for the accounts' turns:
--   line:<queue>:<account>      the account's jobs that wait (sorted set: id by due time)
--   running:<queue>:<account>   its jobs that run (sorted set: id by the end of the lease)
--   turns:<queue>               the accounts that have a line (sorted set: account by rank). The lowest rank is next: whoever has the fewest
--                               jobs running and, among equals, had a turn the longest ago
--   served:<queue>              who had a turn lately (sorted set: account by the time of the last one, Unix ms)
--   looked:<queue>              until when `claim` has looked for what came due by itself (string: Unix ms)
-- Scripts of the previous release know the queue alone. So a line may name a job that is not due any more, or lack one that is: `claim`
-- asks the queue of the former and looks for the latter. Jobs of that release's front doors stand in the line of an account without name.
local ONE_RUNNING = 2 ^ 41 -- above every time in ms until 2039, and 4,095 of them are exact
local REMEMBERED_MS = 600000 -- who had no turn for so long goes first among equals

-- `turn` is given when the account has one now.
local function rank(queue, account, now, turn)
  if not turn then
    local known = redis.call('ZSCORE', 'turns:' .. queue, account)
    if known then
      turn = known % ONE_RUNNING
    else
      turn = redis.call('ZSCORE', 'served:' .. queue, account) or now - REMEMBERED_MS
    end
  end
  local running = redis.call('ZCOUNT', 'running:' .. queue .. ':' .. account, '(' .. now, '+inf')
  return running * ONE_RUNNING + turn
end

local function stand_in_line(queue, account, id, due, now)
  if redis.call('ZADD', 'line:' .. queue .. ':' .. account, due, id) == 1 then
    redis.call('ZADD', 'turns:' .. queue, rank(queue, account, now), account)
  end
end

local function leave_line(queue, account, id)
  local line = 'line:' .. queue .. ':' .. account
  redis.call('ZREM', line, id)
  if redis.call('EXISTS', line) == 0 then
    redis.call('ZREM', 'turns:' .. queue, account)
  end
end

local function run_until(queue, account, id, lease_end, lease)
  local running = 'running:' .. queue .. ':' .. account
  redis.call('ZADD', running, lease_end, id)
  redis.call('PEXPIRE', running, lease)
end

local function stop_running(queue, account, id)
  local running = redis.call('ZREM', 'running:' .. queue .. ':' .. account, id)
  if running == 1 and redis.call('ZSCORE', 'turns:' .. queue, account) then
    local time = redis.call('TIME')
    local now = time[1] * 1000 + math.floor(time[2] / 1000)
    redis.call('ZADD', 'turns:' .. queue, rank(queue, account, now), account)
  end
end
