-- Ask for a job to be aborted, in arq's own way; asks that nobody answered are forgotten after a while.
--
-- KEYS  1 arq's abort set (sorted set: id by the time of the ask, Unix ms)
-- ARGV  1 id   2 how long an ask is kept, ms
-- returns 1
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - ARGV[2])
redis.call('ZADD', KEYS[1], now, ARGV[1])
return 1
