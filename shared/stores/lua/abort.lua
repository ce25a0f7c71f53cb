-- Ask for a job to be aborted, in the way arq does; a mark that nobody answered expires after a while. A job that was
-- claimed before and belongs to nobody now, because it waits until its vendor may be asked again, becomes due at once: the next
-- claim drops it.
--
-- KEYS  1 run (hash)   2 arq's abort set (sorted set: id by the time of the ask, Unix ms)
-- ARGV  1 id   2 how long the mark is kept, ms
--       3 channel of the front door that has no reader any more: nothing is asked when another front door has one; empty to ask in
--       any case. A front door that died does not say so, so its requests run on
-- returns 1 when it is to be aborted, else 0
if ARGV[3] ~= '' then
  local known = redis.call('HGET', KEYS[1], 'channel')
  if not known then
    return 0
  end
  local channels = {}
  for channel in string.gmatch(known, '%S+') do
    if channel ~= ARGV[3] then
      channels[#channels + 1] = channel
    end
  end
  redis.call('HSET', KEYS[1], 'channel', table.concat(channels, ' '))
  if #channels > 0 then
    return 0
  end
end

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', now - ARGV[2])
redis.call('ZADD', KEYS[2], now, ARGV[1])
local queue = redis.call('HGET', KEYS[1], 'queue')
local leased = redis.call('EXISTS', 'arq:in-progress:' .. ARGV[1]) == 1
if queue and not leased and redis.call('ZADD', queue, 'XX', 'LT', 'CH', now, ARGV[1]) == 1 then
  redis.call('LPUSH', 'bell:' .. queue, ARGV[1])
  redis.call('LTRIM', 'bell:' .. queue, 0, 255)
end
return 1
