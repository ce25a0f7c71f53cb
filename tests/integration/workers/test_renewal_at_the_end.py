"""A job that ends in the same moment in which its lease is renewed has not been lost to anybody."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence

import structlog
from arq.connections import ArqRedis

from shared.job import RUN_REQUEST, Done
from shared.ledger.endings import Endings
from shared.ledger.ledger import Ledger
from shared.ledger.settler import Settler
from shared.money import Usage
from shared.queue.queue import Queue
from shared.runtime.tasks import background_tasks
from shared.settings import Settings
from shared.stores import keys
from shared.stores.redis_connections import Word
from shared.stores.scripts import Scripts
from tests.harness.builders import a_job
from tests.harness.journals import read_journal
from tests.harness.support import eventually_true
from tests.integration.jobs import enqueue
from tests.integration.working import function, hand_runner, working
from workers.loop.leased_worker import LeasedWorker
from workers.providers.protocol import Finished, Piece, ProviderRequest, Reported
from workers.request.journal_writer import JournalFlusher
from workers.request.run_job import run_request

JOBS = 60


class Vendor:
    async def stream(self, _: ProviderRequest) -> AsyncGenerator[Piece, None]:
        await asyncio.sleep(0.02)
        yield "x"
        yield Reported(Usage(1, 1))
        yield Finished("stop")

    async def close(self) -> None:
        return


class RenewingScripts:
    """The real scripts; right behind each last event the worker renews its leases, as its timer may."""

    def __init__(self, lua: Scripts, worker: LeasedWorker) -> None:
        self._lua = lua
        self._worker = worker
        self.renewals: list[asyncio.Future[None]] = []

    async def call(self, name: str, names: Sequence[str], arguments: Sequence[Word]) -> object:
        asyncio.get_running_loop().call_soon(self._renew)
        return await self._lua.call(name, names, arguments)

    def _renew(self) -> None:
        self.renewals.append(asyncio.ensure_future(self._worker.leases.renew_once()))


async def test_a_renewal_right_behind_the_last_event_loses_nothing(
    ledger: Ledger, endings: Endings, queue: Queue, redis_client: ArqRedis, settings: Settings
) -> None:
    jobs = [a_job(stream=False) for _ in range(JOBS)]
    with structlog.testing.capture_logs() as logs:
        async with background_tasks() as group, working(settings, function(run_request, name=RUN_REQUEST)) as process:
            scripts = RenewingScripts(process.lua, process.worker)
            flusher = JournalFlusher(scripts, window_s=0, retry_s=0.01)  # type: ignore[arg-type] # the scripts, and a renewal
            group.create_task(flusher.run())
            settler = Settler(ledger, group, retry_s=0.01)
            hand_runner(process, Vendor(), flusher, settler, endings, settings)
            for job in jobs:
                await enqueue(queue, job)

            async def all_ended() -> bool:
                return not await redis_client.zcard(keys.queue("openai", "interactive")) and not process.worker.tasks

            await eventually_true(all_ended, "all have ended")
            await asyncio.gather(*scripts.renewals)
            assert await settler.drained(10)
    assert scripts.renewals
    assert not [entry for entry in logs if entry["event"] in {"lease lost", "attempt fenced", "finish fenced"}]
    assert {type((await read_journal(redis_client, job.id))[-1]) for job in jobs} == {Done}
    assert not process.worker.leases
