"""What a request had in memory is free as soon as it has ended, without waiting for the garbage collector: it counts objects,
and an answer is one object, however large it is.
"""

from __future__ import annotations

import contextvars
import gc
import weakref
from collections.abc import AsyncGenerator, Iterator
from typing import Any

import pytest

from shared.job import RUN_REQUEST
from shared.ledger.endings import Endings
from shared.ledger.ledger import Ledger
from shared.ledger.settler import Settler
from shared.money import Usage
from shared.queue.queue import Queue
from shared.runtime.tasks import background_tasks
from shared.settings import Settings
from shared.stores.scripts import Scripts
from tests.harness.builders import a_job, a_reservation
from tests.harness.support import eventually
from tests.integration.conftest import NewAccount
from tests.integration.jobs import enqueue
from tests.integration.working import function, hand_runner, working
from workers.providers.protocol import Finished, Piece, ProviderRequest, Reported
from workers.request import run_job
from workers.request.attempt import Attempt
from workers.request.journal_writer import JournalFlusher

REQUESTS = 5


class KeepsContexts:
    """A vendor whose connections stay open, and with them the contexts of the calls that opened them."""

    def __init__(self) -> None:
        self.contexts: list[contextvars.Context] = []

    async def stream(self, _: ProviderRequest) -> AsyncGenerator[Piece, None]:
        self.contexts.append(contextvars.copy_context())
        yield "the answer"
        yield Reported(Usage(1, 1))
        yield Finished("stop")

    async def close(self) -> None:
        return


@pytest.fixture
def attempts(monkeypatch: pytest.MonkeyPatch) -> list[weakref.ref[Attempt]]:
    """Those that were begun."""
    begun: list[weakref.ref[Attempt]] = []

    class Noted(Attempt):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            begun.append(weakref.ref(self))

    monkeypatch.setattr(run_job, "Attempt", Noted)
    return begun


@pytest.fixture
def no_collector() -> Iterator[None]:
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("no_collector")
async def test_nothing_of_a_request_is_left_when_it_has_ended(
    ledger: Ledger,
    endings: Endings,
    queue: Queue,
    lua: Scripts,
    settings: Settings,
    new_account: NewAccount,
    attempts: list[weakref.ref[Attempt]],
) -> None:
    account, vendor = await new_account(10_000_000), KeepsContexts()
    for number in range(REQUESTS):
        job = a_job(account_id=account, stream=bool(number % 2))
        await ledger.reserve(a_reservation(account, 1_000_000, id=job.id))
        await enqueue(queue, job)
    async with background_tasks() as group, working(settings, function(run_job.run_request, name=RUN_REQUEST)) as one:
        flusher = JournalFlusher(lua, window_s=0, retry_s=0.01)
        group.create_task(flusher.run())
        settler = Settler(ledger, group, retry_s=0.01)
        hand_runner(one, vendor, flusher, settler, endings, settings)
        await eventually(lambda: len(attempts) == REQUESTS and not one.worker.leases.held, "all have run")
        assert await settler.drained(10)
        await eventually(lambda: not any(attempt() for attempt in attempts), "nothing of them is left")
    assert len(vendor.contexts) == REQUESTS
