"""Neither prompts nor answers appear in what a worker writes to its logs or in the names of Redis keys, at any level."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator

import pytest
import structlog
from arq.connections import ArqRedis

from shared.chat import Message
from shared.errors import ProviderError
from shared.job import RUN_REQUEST, Done, Failed, Job
from shared.ledger.endings import Endings
from shared.ledger.ledger import Ledger
from shared.ledger.settler import Settler
from shared.money import Usage
from shared.queue.queue import Queue
from shared.runtime.tasks import background_tasks
from shared.settings import Settings
from shared.stores import keys
from shared.stores.scripts import Scripts
from tests.harness.builders import a_job, a_model
from tests.harness.journals import read_journal
from tests.harness.support import eventually_true
from tests.integration.jobs import enqueue
from tests.integration.working import function, hand_runner, working
from workers.providers.protocol import Finished, Piece, ProviderRequest, Reported
from workers.request.journal_writer import JournalFlusher
from workers.request.run_job import run_request

PROMPT, ANSWER = "canary-prompt-5b1f", "canary-answer-9c2e"


class Vendor:
    """Answers with the canary, and then ends, fails or breaks, as the model's name says."""

    async def stream(self, request: ProviderRequest) -> AsyncGenerator[Piece, None]:
        yield ANSWER
        if request.model.name == "fails":
            raise ProviderError("The vendor broke off.")
        if request.model.name == "breaks":
            raise RuntimeError("nobody thought of this")
        yield Reported(Usage(1, 1))
        yield Finished("stop")

    async def close(self) -> None:
        return


def _jobs() -> list[Job]:
    return [
        a_job(messages=[Message("user", PROMPT)], stream=stream, model=a_model(name=name))
        for name in ("ends", "fails", "breaks")
        for stream in (True, False)
    ]


@pytest.fixture
def everything(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    """Every logger of every library at DEBUG."""
    caplog.set_level(logging.DEBUG)
    for name in ("arq", "arq.worker", "redis", "asyncio", "asyncpg"):
        caplog.set_level(logging.DEBUG, logger=name)
    return caplog


async def test_no_prompt_and_no_answer_is_logged_whatever_becomes_of_a_request(
    ledger: Ledger,
    endings: Endings,
    queue: Queue,
    lua: Scripts,
    redis_client: ArqRedis,
    settings: Settings,
    everything: pytest.LogCaptureFixture,
) -> None:
    aborted = a_job(messages=[Message("user", PROMPT)])
    await queue.cancel(aborted.id)
    jobs = [*_jobs(), aborted]
    with structlog.testing.capture_logs() as ours:
        async with background_tasks() as group, working(settings, function(run_request, name=RUN_REQUEST)) as process:
            settler = Settler(ledger, group, retry_s=0.01)
            flusher = JournalFlusher(lua, window_s=0.001, retry_s=0.01)
            group.create_task(flusher.run())
            hand_runner(process, Vendor(), flusher, settler, endings, settings)
            for job in jobs:
                await enqueue(queue, job)
            for job in jobs:
                await eventually_true(lambda job=job: _has_left(redis_client, job.id), "the request has ended")  # type: ignore[misc]
            assert await settler.drained(10)
    assert {type(await _last_event(redis_client, job.id)) for job in jobs[:4]} == {Done, Failed}
    assert RUN_REQUEST in everything.text
    assert any(entry["event"] == "request finished" for entry in ours)
    names = [key.decode() async for key in redis_client.scan_iter()]
    for canary in (PROMPT, ANSWER):
        assert canary not in everything.text
        assert canary not in repr(ours)
        assert canary not in " ".join(names)


async def _has_left(client: ArqRedis, job_id: str) -> bool:
    return await client.zscore(keys.queue("openai", "interactive"), job_id) is None


async def _last_event(client: ArqRedis, job_id: str) -> object:
    return (await read_journal(client, job_id))[-1]
