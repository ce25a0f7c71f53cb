from __future__ import annotations

import gc
import weakref

from shared.lanes import QueueName
from shared.queue.claims import Claim, Memory
from workers.loop.large_jobs import COLLECT_AFTER_BYTES, LargeJobs

OPENAI, GEMINI = QueueName("q:openai:interactive"), QueueName("q:gemini:batch")


def a_claim(queue: QueueName, large: int) -> Claim:
    return Claim(queue, "req_1", 1, "wrk_a.1", 0, large=large)


def test_a_large_job_takes_as_many_bytes_as_are_made_of_its_payload() -> None:
    jobs = LargeJobs(1_000, {"openai": 3})
    small, of_openai, of_gemini = a_claim(OPENAI, 0), a_claim(OPENAI, 200), a_claim(GEMINI, 100)
    assert jobs.memory == Memory(1_000, alone=True)
    jobs.begin(small)
    assert jobs.memory == Memory(1_000, alone=True)
    jobs.begin(of_openai)
    jobs.begin(of_gemini)
    assert jobs.memory == Memory(300, alone=False)
    jobs.end(of_openai)
    assert jobs.memory == Memory(900, alone=False)
    jobs.end(of_gemini)
    jobs.end(small)
    assert jobs.memory == Memory(1_000, alone=True)


def test_one_that_is_larger_than_all_memory_leaves_none() -> None:
    jobs = LargeJobs(1_000, {})
    jobs.begin(a_claim(OPENAI, 5_000))
    assert jobs.memory.free < 0
    assert not jobs.memory.alone


class Garbage:
    """Refers to itself, as an exception does whose traceback has a frame that has the exception."""

    def __init__(self) -> None:
        self.itself = self


def test_garbage_is_collected_when_large_jobs_have_ended() -> None:
    """Some of theirs is in cycles. Not for each of them: it takes a while."""
    jobs = LargeJobs(10 * COLLECT_AFTER_BYTES, {"openai": 2})
    half = a_claim(OPENAI, COLLECT_AFTER_BYTES // 4)
    gc.disable()
    try:
        garbage = weakref.ref(Garbage())
        for is_left in (True, False):
            jobs.begin(half)
            jobs.end(half)
            assert (garbage() is not None) == is_left
    finally:
        gc.enable()
