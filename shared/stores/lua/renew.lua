-- Extend the leases of one worker's jobs. A lease that lapsed is taken back as long as nobody else claimed the job. The
-- vendor's call that a job has now is stored with the claim's epoch, for the worker that may take the job over.
-- include parts/turns.lua
--
-- KEYS  none (any number of jobs, on one Redis)
-- ARGV  1 lease, ms   2… five for each job: queue, id, epoch, owner, the call that a vendor has now ("" none)
-- returns the ids whose lease is lost: claimed by another worker, finished or gone
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local lost = {}

for i = 2, #ARGV, 5 do
  local queue, id, epoch, owner, call = ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3], ARGV[i + 4]
  local run = redis.call('HMGET', 'run:' .. id, 'epoch', 'owner', 'account')
  if run[1] == epoch and run[2] == owner and redis.call('ZSCORE', queue, id) then
    redis.call('ZADD', queue, now + ARGV[1], id)
    run_until(queue, run[3] or '', id, now + ARGV[1], ARGV[1])
    redis.call('SET', 'arq:in-progress:' .. id, owner .. ':' .. epoch, 'PX', ARGV[1])
    if call ~= '' then
      redis.call('HSET', 'run:' .. id, 'call:' .. epoch, call)
    end
  else
    lost[#lost + 1] = id
  end
end
return lost
