-- How a job leaves its queue for good: a part, like `turns`, for `append` (with the last event of its request) and `finish` (without one).
-- It needs the parts `payloads` and `turns` before it.

-- `run` has the fields `account`, `bytes` and `large` of the job's run. Arq's mark that the job is in progress is the caller's.
local function end_job(queue, run_key, run, id, keep_ms)
  redis.call('DEL', 'arq:job:' .. id, 'arq:retry:' .. id)
  redis.call('ZREM', 'arq:abort', id)
  leave_queue(queue, id, run.account, run.bytes, run.large)
  stop_running(queue, run.account, id)
  redis.call('PEXPIRE', run_key, keep_ms)
end
