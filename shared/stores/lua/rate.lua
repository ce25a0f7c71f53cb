-- Count something other than a chat request against an API key's limit, or say how long to wait. Safe to repeat: an id counts
-- once.
--
-- KEYS  1 rate limit of the API key (string: theoretical arrival time, ms), as in enqueue.lua   2 mark that this id was counted
-- ARGV  1 requests per minute
-- returns { "ok" | "rate", wait ms, requests remaining, ms until the rate limit is full again }
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local interval = 60000 / tonumber(ARGV[1])
local known = math.max(tonumber(redis.call('GET', KEYS[1]) or 0), now)
local counted = redis.call('EXISTS', KEYS[2]) == 1
local arrival = counted and known or known + interval
if not counted and arrival - now > 60000 + 0.001 then
  return { 'rate', math.ceil(arrival - now - 60000), 0, math.ceil(known - now) }
end

local reset = math.ceil(arrival - now)
if not counted then
  redis.call('SET', KEYS[1], string.format('%.3f', arrival), 'PX', reset)
  redis.call('SET', KEYS[2], '1', 'PX', 60000)
end
return { 'ok', 0, math.max(0, math.floor((60000 - (arrival - now)) / interval + 0.001)), reset }
