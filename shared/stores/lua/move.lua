-- Put a claimed job into another queue, or into its own again, with another payload: its model has failed, and the next model
-- of its chain has its turn. Afterwards the claim has no effect, as if its lease had lapsed. The job leaves one queue and
-- enters the other in one step, so it is not lost when a process dies. Safe to repeat until somebody claims the job again.
--
-- A job that is not claimed, in a queue from which no worker takes jobs, is moved in the same way; a claim that had it before
-- has no effect any more either.
-- include parts/payloads.lua
-- include parts/turns.lua
--
-- KEYS  1 queue that it comes from   2 arq job   3 arq in-progress   4 arq retry counter   5 run (hash)   6 queue that it goes to   7 bell of that queue
-- ARGV  1 id   2 epoch   3 owner, empty for a job that is not claimed   4 payload   5 calls to vendors so far
--       6 the calls among these that are lost, packed; empty for none   7 largest small payload, bytes
--       8 least bytes that the payload counts, as in `enqueue`   9 1 if yet another model may serve the job, else 0
-- returns 1, or 0 when the claim was lost
local id = ARGV[1]
local run = redis.call('HMGET', KEYS[5], 'epoch', 'owner', 'account', 'bytes', 'large', 'gone_on')
local by = ARGV[2] .. ' ' .. ARGV[3]
if run[1] == ARGV[2] and run[6] == by then
  return 1
end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local account = run[3] or ''
if ARGV[3] == '' then
  local due = redis.call('ZSCORE', KEYS[1], id)
  if (run[1] or '0') ~= ARGV[2] or not due or tonumber(due) > now then
    return 0
  end
  redis.call('HINCRBY', KEYS[5], 'epoch', 1)
  leave_line(KEYS[1], run[5] == '1' and LARGE or SMALL, account, id, now)
elseif run[1] ~= ARGV[2] or run[2] ~= ARGV[3] then
  return 0
end

redis.call('DEL', KEYS[3], KEYS[4])
stop_running(KEYS[1], account, id)
leave_queue(KEYS[1], id, account, run[4], run[5])

local size = math.max(#ARGV[4], tonumber(ARGV[8]))
local large = size > tonumber(ARGV[7])
redis.call('SET', KEYS[2], ARGV[4], 'KEEPTTL')
if redis.call('PTTL', KEYS[2]) == -1 then
  redis.call('PEXPIRE', KEYS[2], 86400000)
end
redis.call('HSET', KEYS[5], 'owner', '', 'gone_on', by, 'queue', KEYS[6], 'bytes', size, 'large', large and '1' or '0',
  'calls', ARGV[5], 'refused', 0, 'moved', 0, 'waits_since', 0, 'goes_on', ARGV[9])
if ARGV[6] ~= '' then
  redis.call('HSET', KEYS[5], 'lost', ARGV[6])
end
redis.call('HINCRBY', KEYS[5], 'waits', 1)
redis.call('ZADD', KEYS[6], now, id)
add_bytes(KEYS[6], account, size, large and '1' or '0')
stand_in_line(KEYS[6], large and LARGE or SMALL, account, id, now, now)
redis.call('LPUSH', KEYS[7], id)
redis.call('LTRIM', KEYS[7], 0, 255)
return 1
