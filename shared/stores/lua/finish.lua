-- End one claim: the job is done, or it goes back to its queue (and is due at once when somebody asked to abort it). Does
-- nothing unless the claim still owns the job.
-- include parts/payloads.lua
-- include parts/turns.lua
-- include parts/ending.lua
--
-- KEYS  1 queue   2 arq job   3 arq in-progress   4 arq retry counter   5 arq abort set   6 arq result   7 run   8 bell
--       (`end_job` makes the names of 2, 4 and 5 itself)
-- ARGV  1 id   2 epoch   3 "done" | "again"   4 done: result, may be empty; again: due time, Unix ms, 0 for now
--       5 time to live of the result, ms, 0 for ever   6 time to live of the run hash, ms
--       7 for how long to remember that the job was done, ms (cron jobs), else 0   8 owner
-- returns 1, or 0 when the claim was lost
local id = ARGV[1]
local run = redis.call('HMGET', KEYS[7], 'epoch', 'owner', 'account', 'bytes', 'large')
local account = run[3] or ''
if run[1] ~= ARGV[2] or run[2] ~= ARGV[8] then
  return 0
end

if ARGV[3] == 'done' and tonumber(ARGV[7]) > 0 then
  redis.call('SET', KEYS[3], 'done', 'PX', ARGV[7])
else
  redis.call('DEL', KEYS[3])
end

if ARGV[3] == 'again' then
  stop_running(KEYS[1], account, id)
  local time = redis.call('TIME')
  local now = time[1] * 1000 + math.floor(time[2] / 1000)
  local due = math.max(tonumber(ARGV[4]), now) -- `claim` looks for what came due since the last one
  if due == now or redis.call('ZSCORE', KEYS[5], id) then
    due = now
    redis.call('LPUSH', KEYS[8], id)
    redis.call('LTRIM', KEYS[8], 0, 255)
  end
  redis.call('ZADD', KEYS[1], 'XX', due, id)
  return 1
end

if ARGV[4] ~= '' then
  redis.call('SET', KEYS[6], ARGV[4])
  if tonumber(ARGV[5]) > 0 then
    redis.call('PEXPIRE', KEYS[6], ARGV[5])
  end
end
end_job(KEYS[1], KEYS[7], { account = account, bytes = run[4], large = run[5] }, id, ARGV[6])
return 1
