-- Append one event to a request's journal and tell the front doors that have readers, in one step. The epoch fences a worker that lost its
-- lease; the expected length makes a repeat after a lost reply harmless.
--
-- KEYS  1 journal (list of events)   2 run (hash)   3 settle records (hash)
-- ARGV  1 id   2 epoch   3 expected length   4 event   5 time to live of the journal, ms
--       6 settle record, empty unless the event is the last one   7 "charged" when that record takes money, else ""
-- returns the length after it, or -1 when the claim was lost, -2 when the journal is not as expected, -3 when the request
-- is void: its caller was told that it did not run, so it may end, but not charged
local id = ARGV[1]
local run = redis.call('HMGET', KEYS[2], 'epoch', 'channel', 'void')
if run[1] ~= ARGV[2] then
  return -1
end
if run[3] and ARGV[7] == 'charged' then
  return -3
end
local expected = tonumber(ARGV[3])
local length = redis.call('LLEN', KEYS[1])
if length == expected + 1 and redis.call('LINDEX', KEYS[1], -1) == ARGV[4] then
  return length
end
if length ~= expected then
  return -2
end
redis.call('RPUSH', KEYS[1], ARGV[4])
redis.call('PEXPIRE', KEYS[1], ARGV[5])
if ARGV[6] ~= '' then
  redis.call('HSET', KEYS[3], id, ARGV[6])
end
for channel in string.gmatch(run[2] or '', '%S+') do
  redis.call('PUBLISH', channel, id .. ' ' .. expected .. ' ' .. ARGV[4])
end
return length + 1
