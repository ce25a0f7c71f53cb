-- Count something other than a chat request against an API key's limit, or say how long to wait. Safe to repeat: an id counts
-- once.
-- include parts/rate.lua
--
-- KEYS  1 rate limit of the API key (string: theoretical arrival time, ms), as in enqueue.lua   2 mark that this id was counted
-- ARGV  1 requests per minute
-- returns { "ok" | "rate", wait ms, requests remaining, ms until the rate limit is full again }
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local is_counted = redis.call('EXISTS', KEYS[2]) == 1
local wait, remaining, reset = take(KEYS[1], tonumber(ARGV[1]), now, is_counted)
if wait > 0 then
  return { 'rate', wait, 0, reset }
end
if not is_counted then
  redis.call('SET', KEYS[2], '1', 'PX', MINUTE_MS)
end
return { 'ok', 0, remaining, reset }
