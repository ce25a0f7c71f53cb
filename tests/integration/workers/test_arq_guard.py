"""Our worker stands on arq's insides: a new arq must not slip in unread.

When a hash differs, read what arq has changed, decide what it means for `workers/loop/leased_worker.py`, and record the new
hash here. `test_arq_behaviours.py` then says whether the promises to arq's users still hold.
"""

from __future__ import annotations

import hashlib
import inspect
from importlib.metadata import version

import pytest
from arq import jobs
from arq.connections import ArqRedis
from arq.jobs import Job
from arq.worker import Worker

from workers.loop.leased_worker import LeasedWorker

ROOMS = {"Worker": Worker, "ArqRedis": ArqRedis, "Job": Job, "jobs": jobs}
KNOWN = {
    "Worker.__init__": ("edfb0cd7e05e77cf", "see what it sets that `main` no longer does"),
    "Worker.main": ("45ca1591c9717466", "compare `main`"),
    "Worker._poll_iteration": ("f8d39d823a0a59f2", "compare `_poll_iteration`"),
    "Worker._cancel_aborted_jobs": ("54575eaf8682f95b", "compare `_cancel_aborted_jobs`"),
    "Worker.start_jobs": ("b45797cfa40bed7f", "compare `_claim_and_start` and `_start`"),
    "Worker.run_job": (
        "589a19059ff84ee7",
        "check what `finish_job` and `finish_failed_job` are given, and when tasks end",
    ),
    "Worker.finish_job": ("903f09c92830d3fd", "compare `finish_job`, and shared/stores/lua/finish.lua"),
    "Worker.finish_failed_job": ("3e16087f318a7acf", "compare `finish_failed_job`"),
    "Worker.handle_sig": ("985ff7ba01aa8f04", "compare `handle_sig` and `_drain`"),
    "Worker.async_run": ("f3434c3dd359b31b", "check who calls `main`"),
    "Worker.run_check": ("f507f9f1eb9dc51a", "check who calls `main`"),
    "Worker.close": ("5bcc9cb356680829", "check what it does after `main`"),
    "Worker.heart_beat": ("2e9959bea66dc551", "check what `_poll_iteration` still has to call"),
    "Worker.run_cron": ("7d2d3784e6567fb2", "check how cron jobs are enqueued, and shared/stores/lua/claim.lua"),
    "Worker.record_health": ("108f4b8686c9402d", "check that it needs no more than one queue's name"),
    "Worker._jobs_started": ("c5643370c110c7cd", "check what `_claim_and_start` counts in burst mode"),
    "ArqRedis.enqueue_job": ("7da8706a747c1171", "compare shared/stores/lua/enqueue.lua, and the queue's data format"),
    "Job.abort": ("4dd2f914d8b776b7", "compare `_cancel_aborted_jobs`, and shared/stores/lua/abort.lua"),
    "jobs.serialize_job": ("1fc854cc50e16e5c", "check `Queue.enqueue`, and the data format"),
    "jobs.deserialize_job_raw": ("f330dfaff8e2160f", "check the data format"),
}
"""The first quarter of the SHA-256 of each source that was read, and what to look at when it has changed."""


@pytest.mark.parametrize("name", KNOWN)
def test_what_we_override_or_rely_on_is_what_was_read(name: str) -> None:
    room, _, part = name.partition(".")
    source = inspect.getsource(getattr(ROOMS[room], part))
    sha256, concerns = KNOWN[name]
    assert hashlib.sha256(source.encode()).hexdigest()[:16] == sha256, (
        f"arq {version('arq')} has another {name} than the one that was read: read it again, then {concerns}"
        " (in workers/loop/leased_worker.py unless said otherwise)"
    )


def test_every_method_of_arqs_that_is_overridden_was_read() -> None:
    overridden = {name for name in vars(LeasedWorker) if inspect.isfunction(vars(Worker).get(name))}
    assert overridden <= {name.removeprefix("Worker.") for name in KNOWN}
    assert len(overridden) >= 7
