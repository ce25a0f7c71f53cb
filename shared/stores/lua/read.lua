-- Read a journal from one place on, and tell whether anybody still works on the request.
--
-- KEYS  1 journal   2 arq job   3 settle records (hash)   4 run (hash)
-- ARGV  1 id   2 first sequence number   3 most events   4 most bytes; the first event always comes
-- returns { 1 while the job is queued or running, or its end is not settled yet, else 0; who began the journal, "" when that is
--           not known; event, event, … }
local first = tonumber(ARGV[2])
local entries = redis.call('LRANGE', KEYS[1], first, first + ARGV[3] - 1)
local alive = redis.call('EXISTS', KEYS[2]) == 1 or redis.call('HEXISTS', KEYS[3], ARGV[1]) == 1
local reply = { alive and 1 or 0, redis.call('HGET', KEYS[4], 'begun') or '' }
local bytes = 0
for _, entry in ipairs(entries) do
  bytes = bytes + #entry
  if #reply > 2 and bytes > tonumber(ARGV[4]) then
    break
  end
  reply[#reply + 1] = entry
end
return reply
