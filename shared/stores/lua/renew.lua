-- Extend the leases of one worker's jobs. A lease that lapsed is taken back as long as nobody else claimed the job.
-- with turns
--
-- KEYS  none (any number of jobs, on one Redis)
-- ARGV  1 lease, ms   2… four for each job: queue, id, epoch, owner
-- returns the ids that are lost: claimed by another worker, finished or gone
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local lost = {}

for i = 2, #ARGV, 4 do
  local queue, id, epoch, owner = ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3]
  local run = redis.call('HMGET', 'run:' .. id, 'epoch', 'owner', 'account')
  if run[1] == epoch and run[2] == owner and redis.call('ZSCORE', queue, id) then
    redis.call('ZADD', queue, now + ARGV[1], id)
    run_until(queue, run[3] or '', id, now + ARGV[1], ARGV[1])
    redis.call('SET', 'arq:in-progress:' .. id, owner .. ':' .. epoch, 'PX', ARGV[1])
  else
    lost[#lost + 1] = id
  end
end
return lost
