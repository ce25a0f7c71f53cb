-- Wake one worker that blocks on its bells, so that it looks for jobs again. Safe to repeat: one ring too many only makes it
-- look once more.
--
-- KEYS  1 the worker's own bell (list)
-- ARGV  1 time to live, ms, in case that the worker is gone
-- returns 1
if redis.call('EXISTS', KEYS[1]) == 0 then -- else a ring waits there that wakes it all the same
  redis.call('LPUSH', KEYS[1], '1')
end
redis.call('PEXPIRE', KEYS[1], ARGV[1])
return 1
