-- Make sure that a request never runs again, before its hold is released. Refused when the request is leased or has a settle
-- record: then somebody still works on it or has yet to settle it. The epoch is raised, which fences off a worker that slept
-- past its lease.
-- include parts/payloads.lua
-- include parts/turns.lua
--
-- KEYS  1 queue (ignored when the run names another one, to which the job was moved)   2 arq job   3 run (hash)   4 settle records (hash)
-- ARGV  1 id   2 time to live of the tombstone, ms   3 "void" to make the request void if the tombstone is refused: its worker must
--       then not charge for it
-- returns 1 when the request is dead, 0 when the tombstone was refused
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
