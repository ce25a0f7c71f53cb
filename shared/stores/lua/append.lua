-- Append events to their requests' journals and tell the front doors that have readers, all in one step: one message for each front
-- door. Each event stands for itself. Epoch and owner fence a worker that lost its lease; the place makes a repeat after a
-- lost reply harmless. A run remembers who began its journal: when Redis failed over and lost the beginning, the journal that is
-- begun then is another one, and its readers hear of that.
-- with turns
--
-- KEYS  1 settle records (hash), then two for each event: its journal (list of events), its run (hash)
-- ARGV  nine for each event: id, epoch and owner of the claim, place in the journal from 0, event, time to live of the journal in
--       ms (counted from the first event, and anew from the last one), settle record, empty unless the event is the last one,
--       "charged" when that record takes money, else "", and how the job ends with its last event, else "": its queue, time to
--       live of its run hash in ms and largest payload that is kept as long, bytes, with spaces between
-- returns for each event its journal's length after it, or -1 when the claim was lost, -2 when the journal is not as expected,
-- -3 when the request is void: its caller was told that it did not run, so it may end, but not charged
local messages = {}

-- As `finish` does it, so that a job and its request end together.
local function finish(run_key, account, id, queue, keep_ms, payload_max)
  local job, asked = 'arq:job:' .. id, 'asked:' .. id
  local payload = redis.call('STRLEN', job)
  if payload > 0 and payload <= tonumber(payload_max) then
    redis.call('RENAME', job, asked)
    redis.call('PEXPIRE', asked, keep_ms)
  end
  redis.call('DEL', job, 'arq:in-progress:' .. id, 'arq:retry:' .. id)
  redis.call('ZREM', 'arq:abort', id)
  redis.call('ZREM', queue, id)
  stop_running(queue, account, id)
  redis.call('PEXPIRE', run_key, keep_ms)
end

local function append(journal, run_key, id, epoch, owner, place, event, live_ms, record, charges, ending)
  local run = redis.call('HMGET', run_key, 'epoch', 'owner', 'channel', 'void', 'begun', 'account')
  if run[1] ~= epoch or run[2] ~= owner then
    return -1
  end
  if run[4] and charges == 'charged' then
    return -3
  end
  local length = redis.call('LLEN', journal)
  if length > place and redis.call('LINDEX', journal, place) == event then
    return place + 1
  end
  if length ~= place then
    return -2
  end
  local begun = run[5] or ''
  if place == 0 then
    begun = owner
    redis.call('HSET', run_key, 'begun', begun)
  end
  redis.call('RPUSH', journal, event)
  if place == 0 or record ~= '' then
    redis.call('PEXPIRE', journal, live_ms)
  end
  if record ~= '' then
    redis.call('HSET', KEYS[1], id, record)
  end
  if ending ~= '' then
    finish(run_key, run[6] or '', id, string.match(ending, '^(%S+) (%d+) (%d+)$'))
  end
  for channel in string.gmatch(run[3] or '', '%S+') do
    -- front doors of the previous release do not know the fourth word
    local fourth = string.sub(channel, 1, 6) == 'relay:' and '' or ' ' .. begun
    messages[channel] = messages[channel] or {}
    table.insert(messages[channel], id .. ' ' .. place .. ' ' .. #event .. fourth .. '\n' .. event)
  end
  return place + 1
end

local lengths = {}
for i = 1, #ARGV / 9 do
  local a = 9 * i - 9
  lengths[i] = append(KEYS[2 * i], KEYS[2 * i + 1], ARGV[a + 1], ARGV[a + 2], ARGV[a + 3], tonumber(ARGV[a + 4]),
    ARGV[a + 5], ARGV[a + 6], ARGV[a + 7], ARGV[a + 8], ARGV[a + 9])
end
for channel, heard in pairs(messages) do
  redis.call('PUBLISH', channel, table.concat(heard))
end
return lengths
