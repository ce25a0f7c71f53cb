"""What it takes to show that a guard of a script is needed: a promise that is kept with it and broken without it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import NamedTuple

import pytest
from arq.connections import ArqRedis

from shared.errors import RateLimited, Unavailable
from shared.job import Chunk
from shared.queue.byte_limits import Ending
from shared.queue.claims import Claim
from shared.queue.journal import LeaseLost, RequestVoid, read_on
from shared.queue.queue import Queue
from shared.stores.scripts import Script, Scripts
from tests.harness.builders import a_job, a_release, a_reservation
from tests.integration.jobs import claim_one, enqueue, let_lease_lapse
from tests.integration.journals import DirectJournal


class Bench(NamedTuple):
    """A queue on scripts that may be mutants."""

    queue: Queue
    lua: Scripts
    client: ArqRedis

    async def claimed(self) -> Claim:
        await enqueue(self.queue, a_job())
        return await claim_one(self.queue)

    async def taken_over(self) -> tuple[Claim, Claim]:
        """The claim of a worker that fell silent, and the one of the worker that took over."""
        old = await self.claimed()
        await let_lease_lapse(self.client, old.id)
        return old, await claim_one(self.queue, "wrk_b")

    def journal(self, one: Claim, length: int = 0, ending: Ending | None = None) -> DirectJournal:
        return DirectJournal(self.lua, one, live_s=60, length=length, ending=ending)

    async def begun(self, request_id: str) -> str:
        return (await read_on(self.lua, request_id, 0, events_max=1, bytes_max=1)).begun_by.decode()

    async def ended(self, one: Claim, queue: Queue) -> None:
        """The request's last event, and the end of its job with it."""
        settlement = a_release(a_reservation("acc_x", id=one.id))
        await self.journal(one, ending=queue.ending(one)).append(Chunk("all"), settlement)


Promise = Callable[[Bench], Awaitable[None]]


class Mutant(NamedTuple):
    """`script` with `guard` replaced by `instead`."""

    broken: Promise
    script: str
    guard: str
    instead: str = ""


NEVER = "false"


def mutated(lua: Scripts, mutant: Mutant) -> None:
    """From now on the script lacks its guard."""
    source = lua._scripts[mutant.script].source.decode()
    assert source.count(mutant.guard) == 1, f"{mutant.guard!r} should be in {mutant.script}.lua once"
    lua._scripts[mutant.script] = Script(source.replace(mutant.guard, mutant.instead).encode())


async def must_be_noticed(bench: Bench, mutant: Mutant) -> None:
    """The promise must be broken without the guard."""
    mutated(bench.lua, mutant)
    with pytest.raises(
        (AssertionError, ValueError, LeaseLost, RequestVoid, Unavailable, RateLimited, pytest.fail.Exception)
    ):
        await mutant.broken(bench)
