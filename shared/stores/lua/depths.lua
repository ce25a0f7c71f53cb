-- How much waits and runs in each queue, and how many calls vendors take now. Nothing is changed, and it costs the same however
-- much waits.
--
-- KEYS  the queues (sorted sets: id by due time), then paces (hashes, see `pace.lua`)
-- ARGV  1 how many of the keys are queues   2 lease, ms   3 the limit that a pace starts with
-- returns first for each queue { due, leased, deferred, ms for which the oldest one has been due, 0 if none is }, then for each pace its
--         limit. A job is leased if it is due within one lease: one that was deferred for less counts as such, too.
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
