from __future__ import annotations

from shared.lanes import QueueName
from shared.queue.claims import Claim, Memory
from workers.loop.large_jobs import LargeJobs

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
