-- The breaker of each upstream, shared by all workers: notes the outcomes of calls, takes permits, and returns the state of all
-- upstreams.
--
-- An upstream is closed (calls are made); open until a time, for a `reason`; and half open from then on: one call at a time,
-- the probe, is allowed and needs a permit. When a probe is answered, the upstream rises: as many calls may wait for their
-- first byte at once as its `ramp` says, each with a permit, and each answer adds one, until it is closed again. When a probe
-- fails, the upstream is opened for longer. Each opening begins a new `term`; the outcome of a call of an earlier term counts
-- in the totals only.
--
-- KEYS  1 cooling (zset: pace names by the Unix ms until which the vendor wants no calls)   then for each upstream:
--       its state (hash: term, reason, until Unix ms, since Unix ms, times, ramp, row, calls, errors, bucket:N "since ok failed")
--       its permits (zset: of who waits for a first byte, by the Unix ms until which they count)
-- ARGV  1 least calls to judge an upstream by   2 percent of failed calls that open it   3 failures in a row that open it
--       4 the window in which these count, ms   5 how long it is open at first, ms   6 how long at most, ms
--       7 a random number from 0 to 1   8 the ramp at which it is closed   9 how long a permit counts, ms      then for each upstream:
--       the term of the calls, their outcomes ("s" answered, "n" answered with a refusal that is no failure, "f" failed,
--       "c" credentials refused, "x" credit used up), permits to give back, permits to keep (words, with spaces between them),
--       the permit that is wanted ("" none)
-- returns { { pace name, ms, … }, then for each upstream
--           { state, reason, ms until it is half open, term, whether the permit was granted, calls, errors,
--             the states into which this call put it, ms since it was closed last } }
local ENOUGH, PERCENT, ROW, WINDOW = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local OPEN, OPEN_MAX, RANDOM, RAMP_MAX = tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7]), tonumber(ARGV[8])
local PERMIT = tonumber(ARGV[9])
local BUCKETS, SETTINGS, WORDS = 6, 9, 5
local REASONS = { f = 'failures', c = 'credentials', x = 'credit' }
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local function counted(key, outcome, number)
  local span = WINDOW / BUCKETS
  local since = math.floor(now / span)
  local ok, failed = 0, 0
  local fields = {}
  for place = 0, BUCKETS - 1 do fields[place + 1] = 'bucket:' .. place end
  local known = redis.call('HMGET', key, unpack(fields))
  for place = 0, BUCKETS - 1 do
    local at, good, bad = string.match(known[place + 1] or '', '^(%d+) (%d+) (%d+)$')
    local current = place == since % BUCKETS
    if not at or tonumber(at) <= since - BUCKETS or (current and tonumber(at) ~= since) then good, bad = 0, 0 end
    if current then
      good, bad = good + (outcome == 's' and number or 0), bad + (outcome == 'f' and number or 0)
      redis.call('HSET', key, fields[place + 1], string.format('%d %d %d', since, good, bad))
    end
    ok, failed = ok + good, failed + bad
  end
  return ok, failed
end

local function forget_counts(key)
  for place = 0, BUCKETS - 1 do redis.call('HDEL', key, 'bucket:' .. place) end
  redis.call('HDEL', key, 'row')
end

local function read(key)
  local known = redis.call('HMGET', key, 'term', 'reason', 'until', 'times', 'ramp', 'row')
  return { term = tonumber(known[1] or 0), reason = known[2] or '', ends = tonumber(known[3] or 0),
    times = tonumber(known[4] or 0), ramp = tonumber(known[5] or 0), row = tonumber(known[6] or 0) }
end

local function state_of(one)
  if one.reason ~= '' then return one.ends <= now and 'half open' or 'open' end
  return one.ramp > 0 and 'rising' or 'closed'
end

local function open(key, one, reason)
  local wait = math.min(OPEN_MAX, OPEN * 2 ^ one.times) * (1 + RANDOM / 10)
  if state_of(one) == 'closed' then redis.call('HSET', key, 'since', now) end
  redis.call('HSET', key, 'term', one.term + 1, 'reason', reason, 'until', math.floor(now + wait), 'times', one.times + 1)
  redis.call('HDEL', key, 'ramp')
  forget_counts(key)
end

local function rise(key, ramp)
  redis.call('HDEL', key, 'reason', 'until')
  if ramp >= RAMP_MAX then
    redis.call('HDEL', key, 'ramp', 'times')
  else
    redis.call('HSET', key, 'ramp', ramp)
  end
end

local function tell(key, term, outcome, number)
  redis.call('HINCRBY', key, 'calls', number)
  if REASONS[outcome] then redis.call('HINCRBY', key, 'errors', number) end
  local one = read(key)
  if term ~= one.term then return end
  if one.reason ~= '' then -- only a probe belongs to this term
    if REASONS[outcome] then open(key, one, REASONS[outcome]) else rise(key, 2) end
    return
  end
  if outcome == 'c' or outcome == 'x' then return open(key, one, REASONS[outcome]) end
  if outcome == 'n' then return end
  local row = outcome == 'f' and one.row + 1 or 0
  if row ~= one.row then redis.call('HSET', key, 'row', row) end
  local ok, failed = counted(key, outcome, number)
  if row >= ROW or (ok + failed >= ENOUGH and failed * 100 >= PERCENT * (ok + failed) and failed > 0) then
    open(key, one, 'failures')
  elseif one.ramp > 0 then
    rise(key, outcome == 's' and one.ramp + 1 or math.max(1, math.floor(one.ramp / 2)))
  end
end

local function had(key, permits, wanted)
  if wanted == '' then return 0 end
  local one = read(key)
  local state = state_of(one)
  if state == 'open' then return 0 end
  if state == 'closed' or redis.call('ZSCORE', permits, wanted) then return 1 end
  if redis.call('ZCARD', permits) >= (state == 'half open' and 1 or one.ramp) then return 0 end
  redis.call('ZADD', permits, now + PERMIT, wanted)
  redis.call('PEXPIRE', permits, PERMIT)
  return 1
end

local function answer(key, permits, term, outcomes, released, kept, wanted)
  local entered = {}
  local before = state_of(read(key))
  local place = 1
  while place <= #outcomes do
    local last = before == 'closed' and select(2, string.find(outcomes, '^s+', place)) or place
    tell(key, term, string.sub(outcomes, place, place), last - place + 1)
    local after = state_of(read(key))
    if after ~= before then entered[#entered + 1] = after end
    before, place = after, last + 1
  end
  for permit in string.gmatch(released, '%S+') do redis.call('ZREM', permits, permit) end
  redis.call('ZREMRANGEBYSCORE', permits, '-inf', now)
  for permit in string.gmatch(kept, '%S+') do redis.call('ZADD', permits, 'XX', now + PERMIT, permit) end
  if kept ~= '' then redis.call('PEXPIRE', permits, PERMIT) end
  local taken = had(key, permits, wanted)
  local one = read(key)
  local totals = redis.call('HMGET', key, 'calls', 'errors', 'since')
  local not_closed = state_of(one) == 'closed' and 0 or now - tonumber(totals[3] or now)
  return { state_of(one), one.reason, math.max(0, one.ends - now), one.term, taken,
    tonumber(totals[1] or 0), tonumber(totals[2] or 0), entered, not_closed }
end

redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
local cooling = redis.call('ZRANGE', KEYS[1], 0, -1, 'WITHSCORES')
for place = 2, #cooling, 2 do cooling[place] = math.ceil(tonumber(cooling[place]) - now) end
local answers = { cooling }
for number = 1, (#KEYS - 1) / 2 do
  local at = SETTINGS + (number - 1) * WORDS
  answers[number + 1] = answer(KEYS[2 * number], KEYS[2 * number + 1], tonumber(ARGV[at + 1]), ARGV[at + 2], ARGV[at + 3],
    ARGV[at + 4], ARGV[at + 5])
end
return answers
