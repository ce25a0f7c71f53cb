-- Take due jobs, in the queues' order of priority, each for one lease. A job whose lease lapsed is due again, so this is
-- also how the jobs of a dead worker are taken over. Every claim raises the job's epoch and writes its owner beside it: the fence
-- that all later effects of this claim must show. The epoch alone would not do: a Redis that failed over and lost a claim
-- counts the next one with the same number. A job without a payload, with a tombstone, or that has just been done (a cron job that a
-- second worker enqueued again), is dropped.
--
-- KEYS  the queues (sorted sets: id by due time), highest priority first
-- ARGV  1 owner: a word that no other claim has   2 lease, ms   3 most jobs in all
--       4 not after this Redis time, ms: the worker does not wait for the answer any more; 0 for no limit
--       5 most bytes of payloads in the answer
--       6… for each queue two: most jobs of its provider, of which a batch queue may get less than an interactive one, and most
--       jobs of its lane, the same for all queues that share one. A queue with 0 only hands its ring on: where a job is due,
--       its bell rings afterwards for another worker
-- returns a flat list of { Redis time in ms, then for each job: queue, id, epoch, due time before the claim, payload, how often
--           it was started, 1 if somebody asked to abort it, else 0 }. A payload for which there is no room is empty, and the
--           job not counted as started: then whoever runs it asks for the rest by itself.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local lease = tonumber(ARGV[2])
local left = tonumber(ARGV[3])
local room = {}
local claimed = { now }
local bytes = tonumber(ARGV[5])

if tonumber(ARGV[4]) > 0 and now > tonumber(ARGV[4]) then
  return claimed
end

for number, queue in ipairs(KEYS) do
  local provider, lane = string.match(queue, '^q:(.-):(.*)$')
  room[provider] = room[provider] or tonumber(ARGV[4 + 2 * number])
  room[lane] = room[lane] or tonumber(ARGV[5 + 2 * number])
  local want = math.min(left, room[provider], room[lane], tonumber(ARGV[4 + 2 * number]))
  local due = redis.call('ZRANGEBYSCORE', queue, '-inf', now, 'WITHSCORES', 'LIMIT', 0, want + 1)
  if #due <= 2 * want then
    redis.call('DEL', 'bell:' .. queue) -- all that is due is taken: whoever was rung for it need not come
  elseif redis.call('EXISTS', 'bell:' .. queue) == 0 then
    redis.call('LPUSH', 'bell:' .. queue, due[#due - 1]) -- what stays behind rings for a worker that has room
  end
  if want > 0 then
    for i = 1, math.min(#due, 2 * want), 2 do
      local id = due[i]
      local run = 'run:' .. id
      local mark = 'arq:in-progress:' .. id
      if redis.call('EXISTS', 'arq:job:' .. id) == 0 or redis.call('HEXISTS', run, 'dead') == 1
        or redis.call('GET', mark) == 'done' then
        redis.call('ZREM', queue, id)
        redis.call('DEL', 'arq:job:' .. id)
      else
        local epoch = redis.call('HINCRBY', run, 'epoch', 1)
        redis.call('HSET', run, 'owner', ARGV[1], 'queue', queue)
        if redis.call('PTTL', run) == -1 then
          redis.call('PEXPIRE', run, 86400000)
        end
        redis.call('ZADD', queue, now + lease, id)
        redis.call('SET', mark, ARGV[1] .. ':' .. epoch, 'PX', lease)
        local payload, starts, aborted = '', 0, 0
        local size = redis.call('STRLEN', 'arq:job:' .. id)
        -- arq makes a job due at 1 just before it asks to abort it: the later that is looked up, the better
        if size <= bytes and tonumber(due[i + 1]) > 1 then
          bytes = bytes - size
          payload = redis.call('GET', 'arq:job:' .. id)
          starts = redis.call('INCR', 'arq:retry:' .. id)
          redis.call('EXPIRE', 'arq:retry:' .. id, 88400) -- arq's own number
          aborted = redis.call('ZSCORE', 'arq:abort', id) and 1 or 0 -- the ask is forgotten when the job is finished
        end
        for _, value in ipairs({ queue, id, epoch, due[i + 1], payload, starts, aborted }) do
          claimed[#claimed + 1] = value
        end
        left = left - 1
        room[provider] = room[provider] - 1
        room[lane] = room[lane] - 1
      end
    end
  end
end
return claimed
