-- Put one job into its queue and its account's line, or say why not. Safe to repeat: a job that is there already, or was and has ended,
-- is `ok` and counts once. A full queue takes new jobs of those accounts only that have less than their share of it waiting, and none at
-- twice its depth; a job that is put back was admitted before.
-- with turns
--
-- KEYS  1 queue (sorted set: id by due time)   2 arq job (string: payload)   3 run (hash)   4 bell (list)
--       5 rate limit of the API key (string: theoretical arrival time, ms)   6 journal (list of events)
-- ARGV  1 id   2 payload   3 time to live of job and run, ms   4 deadline, Unix ms   5 channel of the front door
--       6 jobs that wait in a full queue   7 requests per minute, 0 for no limit   8 lowest epoch, more than 0 when Redis
--       has lost the job; then one that has a journal all the same is `ok` too
--       9 not after this Redis time, ms: its caller has given up by then; 0 for no limit   10 account
-- returns { "ok" | "full" | "rate" | "dead" | "late", wait ms, requests remaining, ms until the rate limit is full again,
--           Redis time, ms }
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

if redis.call('HEXISTS', KEYS[3], 'dead') == 1 then
  return { 'dead', 0, 0, 0, now }
end
local has_run
if tonumber(ARGV[8]) > 0 then
  has_run = redis.call('EXISTS', KEYS[6]) == 1
else
  has_run = redis.call('HEXISTS', KEYS[3], 'deadline') == 1
end
if has_run or redis.call('EXISTS', KEYS[2]) == 1 then
  return { 'ok', 0, 0, 0, now }
end
if tonumber(ARGV[9]) > 0 and now > tonumber(ARGV[9]) then
  return { 'late', 0, 0, 0, now }
end
local depth, waiting = tonumber(ARGV[6]), redis.call('ZCOUNT', KEYS[1], '-inf', now)
if waiting >= depth and tonumber(ARGV[8]) == 0 then
  local own = redis.call('ZCARD', 'line:' .. KEYS[1] .. ':' .. ARGV[10])
  local share = math.max(1, math.floor(depth / redis.call('ZCARD', 'turns:' .. KEYS[1])))
  if own >= share or waiting >= 2 * depth then
    return { 'full', 0, 0, 0, now }
  end
end

-- Generic cell rate algorithm: a minute's worth may come at once, then one per interval.
local rpm = tonumber(ARGV[7])
local remaining, reset = 0, 0
if rpm > 0 then
  local interval = 60000 / rpm
  local arrival = math.max(tonumber(redis.call('GET', KEYS[5]) or 0), now) + interval
  if arrival - now > 60000 + 0.001 then
    return { 'rate', math.ceil(arrival - now - 60000), 0, math.ceil(arrival - interval - now), now }
  end
  reset = math.ceil(arrival - now)
  remaining = math.floor((60000 - (arrival - now)) / interval + 0.001)
  redis.call('SET', KEYS[5], string.format('%.3f', arrival), 'PX', reset)
end

redis.call('SET', KEYS[2], ARGV[2], 'PX', ARGV[3])
local channels = redis.call('HGET', KEYS[3], 'channel') or ''
if not string.find(' ' .. channels .. ' ', ' ' .. ARGV[5] .. ' ', 1, true) then
  channels = channels == '' and ARGV[5] or channels .. ' ' .. ARGV[5]
end
redis.call('HSET', KEYS[3], 'deadline', ARGV[4], 'channel', channels, 'account', ARGV[10])
if tonumber(ARGV[8]) > 0 then
  redis.call('HSET', KEYS[3], 'epoch', ARGV[8])
end
redis.call('PEXPIRE', KEYS[3], ARGV[3])
redis.call('ZADD', KEYS[1], now, ARGV[1])
stand_in_line(KEYS[1], ARGV[10], ARGV[1], now, now)
redis.call('LPUSH', KEYS[4], ARGV[1])
redis.call('LTRIM', KEYS[4], 0, 255)
return { 'ok', 0, remaining, reset, now }
