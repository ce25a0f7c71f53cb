-- Note that a front door has a reader for this request: from now on everything that is appended is published to its channel,
-- too. This may come before the request is enqueued. Beyond the limit of channels the oldest one is forgotten: its readers look
-- into the journal every now and then.
--
-- KEYS  1 run (hash)
-- ARGV  1 channel   2 most channels   3 time to live of a run that is not enqueued yet, ms
-- returns 1
local channels = {}
for channel in string.gmatch(redis.call('HGET', KEYS[1], 'channel') or '', '%S+') do
  if channel ~= ARGV[1] then
    channels[#channels + 1] = channel
  end
end
channels[#channels + 1] = ARGV[1]
while #channels > tonumber(ARGV[2]) do
  table.remove(channels, 1)
end
redis.call('HSET', KEYS[1], 'channel', table.concat(channels, ' '))
if redis.call('PTTL', KEYS[1]) < 0 then
  redis.call('PEXPIRE', KEYS[1], ARGV[3])
end
return 1
