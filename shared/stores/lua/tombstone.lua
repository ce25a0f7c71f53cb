-- Make sure that a request never runs any more, before its hold is released. Refuses when it is leased or has a settle
-- record: then it is still somebody's. A worker that slept past its lease is fenced by the new epoch.
-- with payloads
-- with turns
--
-- KEYS  1 queue, unless its run names another one that it has been moved to   2 arq job   3 run (hash)   4 settle records (hash)
-- ARGV  1 id   2 time to live of the tombstone, ms   3 "void" when one that is refused is void
-- returns 1 when it is dead; 0 when refused: when it is void then, whoever runs it must not charge for it
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local queue = redis.call('HGET', KEYS[3], 'queue') or KEYS[1]
local due = redis.call('ZSCORE', queue, ARGV[1])
local leased = due and tonumber(due) > now and redis.call('EXISTS', 'arq:in-progress:' .. ARGV[1]) == 1
if leased or redis.call('HEXISTS', KEYS[4], ARGV[1]) == 1 then
  if ARGV[3] == 'void' and redis.call('EXISTS', KEYS[3]) == 1 then
    redis.call('HSET', KEYS[3], 'void', '1')
  end
  return 0
end
redis.call('HSET', KEYS[3], 'dead', '1')
redis.call('HINCRBY', KEYS[3], 'epoch', 1)
redis.call('PEXPIRE', KEYS[3], ARGV[2])
local run = redis.call('HMGET', KEYS[3], 'account', 'bytes', 'large')
local account = run[1] or ''
leave_queue(queue, ARGV[1], account, run[2], run[3])
for _, class in ipairs({ SMALL, LARGE }) do
  leave_line(queue, class, account, ARGV[1], now)
end
let_pass(queue, ARGV[1])
redis.call('DEL', KEYS[2])
return 1
