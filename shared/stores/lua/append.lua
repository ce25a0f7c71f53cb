-- Append events to the journals of their requests and tell the front doors that have readers, in one step: one message for each
-- front door. Events do not depend on each other: one may be refused while the others are appended. Epoch and owner fence off a
-- worker that lost its lease; the place makes a repeat after a lost reply harmless. A run remembers which claim began its
-- journal: when Redis failed over and lost the beginning, the journal that is begun afterwards is a different one, and its
-- readers are told so.
-- include parts/kept.lua
-- include parts/payloads.lua
-- include parts/turns.lua
-- include parts/ending.lua
--
-- KEYS  1 settle records (hash), then two for each event: its journal (list of events), its run (hash)
-- ARGV  ten for each event: 1 id, 2 and 3 epoch and owner of the claim, 4 place in the journal from 0, 5 event
--       6 time to live of the journal in ms, counted from the first event and again from the last one
--       7 upstream that the event comes from; the one of the first event is remembered
--       8 settle record with the last event, else empty   9 "charged" when that record takes money, else ""
--       10 with the last event what to do at the job's end, else "". Words with spaces between them: its queue; time to live of its run
--       hash, ms; bytes of the largest payload that is kept as long; most bytes that are kept of all requests that have ended; for how
--       long after its end or a reader's last look a journal is not dropped to make room, ms; bytes of the journal
-- returns for each event the journal's length after it, or -1 when the claim was lost, -2 when the journal does not have that length,
-- -3 when the request is void: its caller was told that it did not run, so it may end, but may not be charged
local messages = {}

-- End the job in the same step as its request, and keep for readers what may be kept.
local function end_with_request(run_key, run, id, queue, keep_ms, asked_max, kept_max, readers_ms, journal_bytes)
  local time = redis.call('TIME')
  local now = time[1] * 1000 + math.floor(time[2] / 1000)
  local job, asked = 'arq:job:' .. id, 'asked:' .. id
  local payload = redis.call('STRLEN', job)
  if payload > 0 and payload <= tonumber(asked_max) then
    redis.call('RENAME', job, asked)
    redis.call('PEXPIRE', asked, keep_ms)
    keep(asked, payload, now + keep_ms, now)
  end
  redis.call('DEL', 'arq:in-progress:' .. id)
  end_job(queue, run_key, run, id, keep_ms)
  if run.channel ~= '' then
    redis.call('HSET', run_key, 'read', now)
  end
  keep('journal:' .. id, journal_bytes, now + keep_ms, now)
  make_room(tonumber(kept_max), readers_ms, now)
end

local function append(journal, run_key, id, epoch, owner, place, event, live_ms, upstream, record, charges, ending)
  local run = redis.call('HMGET', run_key, 'epoch', 'owner', 'channel', 'void', 'begun', 'account', 'bytes', 'large')
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
    redis.call('HSET', run_key, 'begun', begun, 'upstream', upstream)
  end
  redis.call('RPUSH', journal, event)
  if place == 0 or record ~= '' then
    redis.call('PEXPIRE', journal, live_ms)
  end
  if record ~= '' then
    redis.call('HSET', KEYS[1], id, record)
  end
  if ending ~= '' then
    local of_run = { channel = run[3] or '', account = run[6] or '', bytes = run[7], large = run[8] }
    end_with_request(run_key, of_run, id, string.match(ending, '^(%S+) (%d+) (%d+) (%d+) (%d+) (%d+)$'))
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
for i = 1, #ARGV / 10 do
  local a = 10 * i - 10
  lengths[i] = append(KEYS[2 * i], KEYS[2 * i + 1], ARGV[a + 1], ARGV[a + 2], ARGV[a + 3], tonumber(ARGV[a + 4]),
    ARGV[a + 5], ARGV[a + 6], ARGV[a + 7], ARGV[a + 8], ARGV[a + 9], ARGV[a + 10])
end
for channel, heard in pairs(messages) do
  redis.call('PUBLISH', channel, table.concat(heard))
end
return lengths
