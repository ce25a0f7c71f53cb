-- Remove settle records whose settlements have been committed, and keep copies aside for a while: a Postgres that fails over to
-- a standby may lose its last commits, and then the copies are settled again. The oldest copies are dropped when there are too
-- many or when they take too much memory.
--
-- KEYS  1 settle records (hash)   2 kept records (hash: id to record)   3 when they were committed (sorted set: id by Unix ms)
-- ARGV  1 most copies   2 time to live of a copy, ms   3 most bytes of Redis's memory for all copies, estimated from a sample
--       4… two for each settlement: id, and the copy to keep: "" for a copy of its record, if there is one, "-" for none, else another
--       record to keep instead
-- returns how many copies are kept
local SAMPLES = 64
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

for i = 4, #ARGV, 2 do
  local id, kept = ARGV[i], ARGV[i + 1]
  local record = redis.call('HGET', KEYS[1], id)
  redis.call('HDEL', KEYS[1], id) -- first: with its memory full, Redis refuses a script that begins with a command that needs some
  if kept == '' then
    kept = record or '-'
  end
  if kept ~= '-' then
    redis.call('HSET', KEYS[2], id, kept)
    redis.call('ZADD', KEYS[3], now, id)
  end
end

local count = redis.call('ZCARD', KEYS[3])
local most, bytes = tonumber(ARGV[1]), redis.call('MEMORY', 'USAGE', KEYS[2], 'SAMPLES', SAMPLES) or 0
if bytes > tonumber(ARGV[3]) then
  most = math.min(most, math.floor(count * ARGV[3] / bytes))
end
if count > most then
  local oldest = redis.call('ZPOPMIN', KEYS[3], count - most)
  for i = 1, #oldest, 2 do
    redis.call('HDEL', KEYS[2], oldest[i])
  end
  count = most
end
redis.call('PEXPIRE', KEYS[2], ARGV[2])
redis.call('PEXPIRE', KEYS[3], ARGV[2])
return count
