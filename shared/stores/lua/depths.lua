-- Count what waits and runs in each queue, and read how many calls each pace allows now. Nothing is changed, and the cost does
-- not grow with the number of waiting jobs.
--
-- KEYS  the queues (sorted sets: id by due time), then paces (hashes, see `pace.lua`)
-- ARGV  1 how many of the keys are queues   2 lease, ms   3 the limit that a pace starts with
-- returns for each queue { due jobs, leased jobs, deferred jobs, ms for which the oldest due job has been due or 0 }, then for each pace
--         its limit. A job counts as leased if it is due within one lease, so a job that is deferred for less than a lease counts, too.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local queues = tonumber(ARGV[1])
local found = {}

for i, key in ipairs(KEYS) do
  if i <= queues then
    local due = redis.call('ZCOUNT', key, '-inf', now)
    local leased = redis.call('ZCOUNT', key, '(' .. now, now + tonumber(ARGV[2]))
    local oldest = due > 0 and now - tonumber(redis.call('ZRANGE', key, 0, 0, 'WITHSCORES')[2]) or 0
    found[i] = { due, leased, redis.call('ZCARD', key) - due - leased, math.floor(oldest) }
  else
    found[i] = math.max(1, math.floor(tonumber(redis.call('HGET', key, 'limit') or ARGV[3])))
  end
end
return found
