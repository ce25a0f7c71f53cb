-- Whose turn it is in a queue: a part, which stands in front of each script that says `with turns` in a comment line of its own.
--
-- The queue (sorted set: id by due time) alone says what is due. Beside it are, for the accounts' turns:
--   line:<queue>:<account>      the account's jobs that wait (sorted set: id by due time)
--   running:<queue>:<account>   its jobs that run (sorted set: id by the end of the lease)
--   turns:<queue>               the accounts that have a line (sorted set: account by rank). The lowest rank is next: whoever has the fewest
--                               jobs running and, among equals, had a turn the longest ago
--   served:<queue>              of those that have none, who had a turn lately (sorted set: account by the time of the last one, Unix ms)
--   looked:<queue>              until when `claim` has looked for what came due by itself (string: Unix ms)
-- Scripts of the previous release know the queue alone. So a line may name a job that is not due any more, or lack one that is: `claim`
-- asks the queue of the former and looks for the latter. Jobs of that release's front doors stand in the line of an account without name.
local ONE_RUNNING = 2 ^ 41 -- above every time in ms until 2039, and 4,095 of them are exact
local REMEMBERED_MS = 600000 -- who had no turn for so long goes first among equals

local function stand_for_turn(queue, account, now, last_turn)
  local running = redis.call('ZCOUNT', 'running:' .. queue .. ':' .. account, '(' .. now, '+inf')
  redis.call('ZADD', 'turns:' .. queue, running * ONE_RUNNING + last_turn, account)
end

-- `look_again`: some of the account's jobs may run no more, for their leases lapsed.
local function stand_in_line(queue, account, id, due, now, look_again)
  if redis.call('ZADD', 'line:' .. queue .. ':' .. account, due, id) == 1 then
    local rank = redis.call('ZSCORE', 'turns:' .. queue, account)
    if not rank then
      stand_for_turn(queue, account, now, redis.call('ZSCORE', 'served:' .. queue, account) or now - REMEMBERED_MS)
    elseif look_again then
      stand_for_turn(queue, account, now, rank % ONE_RUNNING)
    end
  end
end

-- Nobody stands in its line any more; the last turn is remembered.
local function leave_turns(queue, account, now, last_turn)
  redis.call('ZREM', 'turns:' .. queue, account)
  if last_turn > now - REMEMBERED_MS then
    redis.call('ZADD', 'served:' .. queue, last_turn, account)
    redis.call('PEXPIRE', 'served:' .. queue, REMEMBERED_MS)
  end
end

local function run_until(queue, account, id, lease_end, lease)
  local running = 'running:' .. queue .. ':' .. account
  redis.call('ZADD', running, lease_end, id)
  redis.call('PEXPIRE', running, lease)
end

local function stop_running(queue, account, id)
  if redis.call('ZREM', 'running:' .. queue .. ':' .. account, id) == 1 then
    local rank = redis.call('ZSCORE', 'turns:' .. queue, account)
    if rank then
      local time = redis.call('TIME')
      stand_for_turn(queue, account, time[1] * 1000 + math.floor(time[2] / 1000), rank % ONE_RUNNING)
    end
  end
end
