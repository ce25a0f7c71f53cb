-- How many calls of one model an upstream takes at once: learned from how the vendor answers. It doubles per round of
-- successes until the vendor first throttles, then grows by one a round; throttled, it is halved, at most once a second,
-- and nothing new is fed until the vendor's Retry-After has passed. A time that the vendor named itself holds for all calls.
--
-- KEYS  1 pace of the model (hash: limit, grown "fast" | "slow", until Unix ms, halved Unix ms)
--       2 cooling (zset: pace names by the Unix ms until which the vendor wants no calls)
-- ARGV  1 successes since the last report   2 "throttled", "used up" (it took the request, and takes no more for a while) or ""
--       3 how long to wait then, ms
--       4 the limit to start with   5 the greatest limit   6 time to live, ms
--       7 ms for which the vendor wants no calls at all   8 the pace's name
-- returns { limit, ms until more may be fed }
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local known = redis.call('HMGET', KEYS[1], 'limit', 'grown', 'until', 'halved')
local limit = tonumber(known[1] or ARGV[4])
local grown = known[2] or 'fast'
local wait_until = tonumber(known[3] or 0)
local halved = tonumber(known[4] or 0)
local successes = tonumber(ARGV[1])

if ARGV[2] ~= '' then
  wait_until = math.max(wait_until, now + tonumber(ARGV[3]))
end
if ARGV[2] == 'throttled' then
  grown = 'slow'
  if now - halved >= 1000 then
    limit = math.max(1, limit / 2)
    halved = now
  end
elseif ARGV[2] == '' and successes > 0 then
  limit = math.min(tonumber(ARGV[5]), limit + (grown == 'fast' and successes or successes / limit))
end

if ARGV[2] ~= '' or successes > 0 then
  redis.call('HSET', KEYS[1], 'limit', string.format('%.3f', limit), 'grown', grown, 'until', wait_until, 'halved', halved)
  redis.call('PEXPIRE', KEYS[1], ARGV[6])
end
if tonumber(ARGV[7]) > 0 then
  redis.call('ZADD', KEYS[2], 'GT', now + ARGV[7], ARGV[8])
end
return { math.max(1, math.floor(limit)), math.max(0, wait_until - now) }
