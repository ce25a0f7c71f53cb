-- The rate limit of an API key: a part, like `turns`. Generic cell rate algorithm: a minute's worth may come at once, then one per interval.
-- `key` is a string, the theoretical arrival time in ms.
local MINUTE_MS = 60000

-- Counts one request, or with `is_counted` only looks. Returns how long to wait, ms, 0 if it was counted; the requests that remain; and the
-- ms until the limit is full again.
local function take(key, rpm, now, is_counted)
  local interval = MINUTE_MS / rpm
  local known = math.max(tonumber(redis.call('GET', key) or 0), now)
  local arrival = is_counted and known or known + interval
  local reset = math.ceil(arrival - now)
  if not is_counted then
    if arrival - now > MINUTE_MS + 0.001 then
      return math.ceil(arrival - now - MINUTE_MS), 0, math.ceil(known - now)
    end
    redis.call('SET', key, string.format('%.3f', arrival), 'PX', reset)
  end
  return 0, math.max(0, math.floor((MINUTE_MS - (arrival - now)) / interval + 0.001)), reset
end
