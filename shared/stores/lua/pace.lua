-- How many calls of one model an upstream takes at once, learned from the vendor's answers. The limit doubles with each round
-- of successes until the vendor throttles for the first time, and then grows by one a round. When the vendor throttles, the
-- limit is halved, at most once a second, and no new call is made until the vendor's Retry-After has passed. A waiting time
-- that the vendor names itself holds for all calls.
--
-- A vendor that throttles says when it takes another call, but does not know how many calls wait here for that moment. So calls
-- go one after the other (`turn.lua`), with a gap between them. The gap shrinks with each answer. With each refusal it grows to
-- the time between the last call that was answered and the next one that will be, where the vendor says when. In the end few
-- calls are refused. Once the gap has shrunk to nothing, or nothing was refused for a while, calls are free again.
--
-- KEYS  1 pace of the model (hash: limit, grown "fast" | "slow", until Unix ms, halved Unix ms; of the line: gap ms, next Unix ms, round,
--         taken Unix ms at which the last call began that was answered, refused Unix ms, answers since then)
--       2 cooling (zset: pace names by the Unix ms until which the vendor wants no calls)
-- ARGV  1 successes since the last report   2 "throttled", "used up" (it took the request, and takes no more for a while) or ""
--       3 how long to wait then, ms
--       4 the limit to start with   5 the greatest limit   6 time to live, ms
--       7 ms for which the vendor wants no calls at all   8 the pace's name
--       9 ms since the refused call began, or since the last of the answered calls began; below 0 when a vendor in trouble refused the
--       call, which says nothing about a limit
--       10 1 if a request repeats a call that was refused before, else 0. While others are answered, the refusal of a repeat teaches
--       nothing: some requests are refused for ever, for example because one alone has more tokens than the vendor allows in a minute
-- returns { limit, ms until the next call may be made, 1 if calls go one after the other, else 0, 0 if the refusal teaches nothing, else 1 }
local OTHERS = 3 -- answers since the last refusal that count as "others are answered"
local SHRINKS, GROWS, GROWS_AT_FIRST, GROWS_MOST = 0.99, 1.25, 2, 1.5
local GAP_MIN, GAP_MAX, FORGOTTEN = 5, 5000, 60000
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local known = redis.call('HMGET', KEYS[1], 'limit', 'grown', 'until', 'halved', 'gap', 'next', 'round', 'taken', 'refused', 'answers')
local limit = tonumber(known[1] or ARGV[4])
local grown = known[2] or 'fast'
local wait_until = tonumber(known[3] or 0)
local halved = tonumber(known[4] or 0)
local gap, next_at, round = tonumber(known[5] or 0), tonumber(known[6] or 0), tonumber(known[7] or 0)
local taken, refused, answers = tonumber(known[8] or 0), tonumber(known[9] or 0), tonumber(known[10] or 0)
local successes, wait, cool, ago = tonumber(ARGV[1]), tonumber(ARGV[3]), tonumber(ARGV[7]), tonumber(ARGV[9])

if ARGV[10] == '1' and (gap == 0 or answers >= OTHERS) then
  return { math.max(1, math.floor(limit)), math.max(0, wait_until - now), gap > 0 and 1 or 0, 0 }
end
if ARGV[2] ~= '' then
  wait_until = math.max(wait_until, now + wait)
end
if ARGV[2] == 'throttled' then
  grown = 'slow'
  if now - halved >= 1000 then
    limit = math.max(1, limit / 2)
    halved = now
  end
  if ago >= 0 and now - ago >= refused then -- refusals of calls that ran at the same time count once
    local longer = gap * ((answers > 1 or cool > 0) and GROWS or GROWS_AT_FIRST)
    if cool > 0 and taken > 0 then
      longer = math.min(gap * GROWS_MOST, now + cool - taken)
    end
    gap = math.min(GAP_MAX, math.max(GAP_MIN, longer))
    next_at, refused, answers, round = now, now, 0, round + 1
  end
  if gap > 0 then
    next_at = math.max(next_at, now + (cool > 0 and cool or gap))
  end
elseif ARGV[2] == '' and successes > 0 then
  limit = math.min(tonumber(ARGV[5]), limit + (grown == 'fast' and successes or successes / limit))
  if gap > 0 then
    gap, answers, taken = gap * SHRINKS ^ successes, answers + successes, math.max(taken, now - ago)
    if gap < GAP_MIN / 2 or now - refused > FORGOTTEN then
      gap = 0
    end
  end
end

if ARGV[2] ~= '' or successes > 0 then
  redis.call('HSET', KEYS[1], 'limit', string.format('%.3f', limit), 'grown', grown, 'until', wait_until, 'halved', halved)
  if gap > 0 then
    redis.call('HSET', KEYS[1], 'gap', string.format('%.3f', gap), 'next', string.format('%.0f', next_at), 'round', round,
      'taken', string.format('%.0f', taken), 'refused', refused, 'answers', answers)
  elseif known[5] then
    redis.call('HDEL', KEYS[1], 'gap', 'next', 'round', 'taken', 'refused', 'answers')
  end
  redis.call('PEXPIRE', KEYS[1], ARGV[6])
end
if cool > 0 then
  redis.call('ZADD', KEYS[2], 'GT', now + cool, ARGV[8])
end
return { math.max(1, math.floor(limit)), math.max(0, wait_until - now), gap > 0 and 1 or 0, 1 }
