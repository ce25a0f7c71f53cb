-- Read a journal from one place on, and tell whether anybody still works on the request. With a channel, the front door is told
-- of later events, too: a Redis that failed over may have lost that it listens, and would otherwise cancel the request when
-- another reader leaves.
--
-- KEYS  1 journal   2 arq job   3 settle records (hash)   4 run (hash)
-- ARGV  1 id   2 first sequence number   3 most events   4 most bytes; the first event always comes   5 channel, "" for none
--       6 most channels   7 most bytes of the first event, "" for any
-- returns { 1 while the job is queued or running, or its end is not settled yet, else 0; the claim that began the journal, "" when
--           unknown; bytes of the first event when it has more than allowed, else 0; event, event, … }
local STEP = 8 -- events of many MB are not all fetched before they are counted
local first, last = tonumber(ARGV[2]), ARGV[2] + ARGV[3] - 1
local alive = redis.call('EXISTS', KEYS[2]) == 1 or redis.call('HEXISTS', KEYS[3], ARGV[1]) == 1
local run = redis.call('HMGET', KEYS[4], 'begun', 'channel')
local reply = { alive and 1 or 0, run[1] or '', 0 }
if ARGV[5] ~= '' and run[2] then
  local time = redis.call('TIME')
  redis.call('HSET', KEYS[4], 'read', time[1] * 1000 + math.floor(time[2] / 1000))
end
if ARGV[5] ~= '' and run[2] and not string.find(' ' .. run[2] .. ' ', ' ' .. ARGV[5] .. ' ', 1, true) then
  local _, others = string.gsub(run[2], '%S+', '')
  if others < tonumber(ARGV[6]) then
    redis.call('HSET', KEYS[4], 'channel', others == 0 and ARGV[5] or run[2] .. ' ' .. ARGV[5])
  end
end
local bytes = 0
for place = first, last, STEP do
  local entries = redis.call('LRANGE', KEYS[1], place, math.min(place + STEP - 1, last))
  for _, entry in ipairs(entries) do
    bytes = bytes + #entry
    if #reply == 3 and ARGV[7] ~= '' and #entry > tonumber(ARGV[7]) then
      reply[3] = #entry
      return reply
    end
    if #reply > 3 and bytes > tonumber(ARGV[4]) then
      return reply
    end
    reply[#reply + 1] = entry
  end
  if #entries < STEP then
    break
  end
end
return reply
