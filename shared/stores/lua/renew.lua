-- Extend the leases of one worker's jobs. A lease that lapsed is taken back as long as nobody else claimed the job.
--
-- KEYS  none (any number of jobs, on one Redis)
-- ARGV  1 worker id   2 lease, ms   3… triples of queue, id, epoch
-- returns the ids that are lost: claimed by another worker, finished or gone
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local lost = {}

for i = 3, #ARGV, 3 do
  local queue, id, epoch = ARGV[i], ARGV[i + 1], ARGV[i + 2]
  if redis.call('HGET', 'run:' .. id, 'epoch') == epoch and redis.call('ZSCORE', queue, id) then
    redis.call('ZADD', queue, now + ARGV[2], id)
    redis.call('SET', 'arq:in-progress:' .. id, ARGV[1] .. ':' .. epoch, 'PX', ARGV[2])
  else
    lost[#lost + 1] = id
  end
end
return lost
