-- Write one piece of a large payload. `enqueue.lua` makes it the payload of a job once it is whole. One command with all of it
-- would keep every other caller of Redis waiting while it is copied. Safe to repeat: `enqueue.lua` takes only a payload of the
-- right length.
--
-- KEYS  1 staged payload (string)
-- ARGV  1 offset of the piece   2 piece   3 time to live of the staged payload, ms
--
-- If what was staged before is gone, nothing is written.
local offset, length = tonumber(ARGV[1]), redis.call('STRLEN', KEYS[1])
if offset == 0 then
  redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
elseif length == offset then
  redis.call('APPEND', KEYS[1], ARGV[2])
end
