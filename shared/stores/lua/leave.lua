-- A front door has no reader for this request any more. When no other front door has one, the job is asked to be aborted,
-- in arq's own way, as `abort` does. A front door that died never left, so its requests run on.
--
-- KEYS  1 run (hash)   2 arq's abort set (sorted set: id by the time of the ask, Unix ms)
-- ARGV  1 id   2 channel   3 how long an ask is kept, ms
-- returns 1 when it is to be aborted, else 0
local known = redis.call('HGET', KEYS[1], 'channel')
if not known then
  return 0
end
local channels = {}
for channel in string.gmatch(known, '%S+') do
  if channel ~= ARGV[2] then
    channels[#channels + 1] = channel
  end
end
redis.call('HSET', KEYS[1], 'channel', table.concat(channels, ' '))
if #channels > 0 then
  return 0
end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', now - ARGV[3])
redis.call('ZADD', KEYS[2], now, ARGV[1])
return 1
