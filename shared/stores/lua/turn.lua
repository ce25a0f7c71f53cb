-- Take the earliest next turn for a call among those of some upstreams: where a vendor throttles, calls go one after the other,
-- with the gap that `pace.lua` has learned. A turn is valid until a call is refused: then all turns are taken anew, and calls
-- that waited for an earlier turn ask first.
--
-- KEYS  paces of the model, one of each upstream (see `pace.lua`)
-- ARGV  1 latest turn to take, ms from now   2 with a single pace: the round of a turn that has come, "" for none
--       then for each pace: earliest turn, ms from now
-- returns { place of the pace from 0, ms until the turn, its round, 1 if it was taken, 0 if it comes too late }
local CATCHES_UP = 100 -- ms of missed turns that are made up for, as callers wake a little after their turn
local SETTINGS = 2
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local best
for place, key in ipairs(KEYS) do
  local known = redis.call('HMGET', key, 'gap', 'next', 'round')
  local gap, round = tonumber(known[1] or 0), tonumber(known[3] or 0)
  if tostring(round) == ARGV[2] then
    return { place - 1, 0, round, 1 }
  end
  local not_before = tonumber(ARGV[SETTINGS + place])
  local at = not_before > 0 and now + not_before or now - CATCHES_UP
  if gap > 0 then
    at = math.max(at, tonumber(known[2]))
  end
  if not best or at < best.at then
    best = { at = at, place = place, gap = gap, round = round }
  end
end
local wait = math.max(0, math.ceil(best.at - now))
if wait > tonumber(ARGV[1]) then
  return { best.place - 1, wait, best.round, 0 }
end
if best.gap > 0 then
  redis.call('HSET', KEYS[best.place], 'next', string.format('%.3f', best.at + best.gap))
end
return { best.place - 1, wait, best.round, 1 }
