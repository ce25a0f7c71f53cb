"""What Redis knows of requests."""

from __future__ import annotations

from typing import Any

from arq.connections import ArqRedis

from shared.job import Chunk
from shared.queue.known import Known, cancelled_among, job_of, known_of, lost_among, running_among
from shared.queue.queue import Queue
from shared.stores import keys
from tests.harness.builders import a_job
from tests.integration.jobs import claim_one, enqueue


async def test_a_request_is_lost_without_job_journal_and_settle_record(
    queue: Queue, redis_client: ArqRedis, monkeypatch: Any
) -> None:
    monkeypatch.setattr("shared.queue.known.ASKED_AT_ONCE", 2)
    running, waiting, journaled, owed, lost = (a_job() for _ in range(5))
    await enqueue(queue, running)
    await claim_one(queue)
    await enqueue(queue, waiting)
    await queue.cancel(waiting.id)
    await redis_client.rpush(keys.journal(journaled.id), b"event")  # type: ignore[misc] # typed for both clients
    await redis_client.hset(keys.SETTLES, owed.id, "record")  # type: ignore[misc]
    ids = [job.id for job in (lost, running, waiting, journaled, owed)]
    assert await lost_among(redis_client, ids) == [lost.id]
    assert await running_among(redis_client, ids) == {running.id}
    assert await cancelled_among(redis_client, ids) == {waiting.id}


async def test_a_job_that_another_release_wrote_is_not_known(queue: Queue, redis_client: ArqRedis) -> None:
    one = a_job()
    await enqueue(queue, one)
    assert await job_of(redis_client, one.id) == one
    await redis_client.set(keys.asked(one.id), b"another form")
    assert await known_of(redis_client, one.id) == Known(())
    assert (await known_of(redis_client, a_job().id)).job is None


def test_an_answer_that_was_cut_off_is_known() -> None:
    assert Known().answer is None
    answer = Known((Chunk("one "), Chunk("two"))).answer
    assert answer
    assert answer.text == "one two"
