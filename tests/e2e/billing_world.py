"""One customer, what a test does to its request, and what it must have paid: for the table of `/docs/billing`."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Iterator
from typing import Any, NamedTuple

import aiohttp
import asyncpg

from deploy.simulator.answer import answer, prompt_tokens
from deploy.simulator.script import Script, from_message
from shared.catalogue.models import load_catalogue
from shared.lanes import ServiceTier
from shared.money import NANO_PER_USD, Price, Usage
from shared.stores import keys
from tests.e2e.overlaid import Overlaid
from tests.harness.caller import MODEL, UPSTREAM, Caller
from tests.harness.cluster import Cluster
from tests.harness.support import eventually_true

LATER = {"Prefer": "respond-async"}
CREDIT_NANO = NANO_PER_USD
WORKER = "worker-1"
_keys = itertools.count()


class Paid(NamedTuple):
    """How the request must have ended, None when it never was one, and what it must have cost."""

    state: str | None
    charge_nano: int


class Worker:
    """The only worker, while `lines` of the table are under way together."""

    def __init__(self, cluster: Cluster, lines: int) -> None:
        self._cluster = cluster
        self._wish_it_asleep = 0
        self._lines = asyncio.Barrier(lines)

    @contextlib.contextmanager
    def asleep(self) -> Iterator[None]:
        """It sleeps as long as anybody wants it to."""
        self._wish_it_asleep += 1
        self._cluster.pause(WORKER)
        try:
            yield
        finally:
            self._wish_it_asleep -= 1
            if not self._wish_it_asleep:
                self._cluster.resume(WORKER)

    @contextlib.asynccontextmanager
    async def dead(self) -> AsyncIterator[None]:
        """It dies when all lines have come here, and another one is started when all have done what they do meanwhile."""
        if await self._lines.wait() == 0:
            await self._cluster.kill(WORKER)
        await self._lines.wait()
        try:
            yield
        finally:
            if await self._lines.wait() == 0:
                self._cluster.start(WORKER)

    async def restarted(self) -> None:
        await self._cluster.drain(WORKER)
        self._cluster.start(WORKER)

    async def await_nobody(self) -> None:
        """A line has failed, so those that wait for it fail, too."""
        await self._lines.abort()


class World:
    """One customer with a dollar, and what a line of the table does to its request. As the `hasty` one he asks at a
    front door that gives a request little time.
    """

    def __init__(self, caller: Caller, service: Overlaid, books: asyncpg.Pool, worker: Worker) -> None:
        self.caller = caller
        self.hasty = caller.at(service.cluster.shared_url)
        self.cluster = service.cluster
        self.books = books
        self.silent = service.silent
        self.worker = worker

    async def later(self, message: str, model: str = MODEL, caller: Caller | None = None, **options: Any) -> str:
        """Ask without waiting; gives the request's id."""
        reply = await (caller or self.caller).chat(message, model=model, headers=LATER, max_tokens=200, **options)
        assert reply.status == 202, reply.body
        return str(reply.json["result"]["id"])

    async def cancel(self, request_id: str) -> None:
        assert (await self.caller.request("DELETE", f"/api/requests/{request_id}")).status == 200

    async def refused(self, key: str, times: int = 1) -> None:
        await self.cluster.simulator.call_begins(key, times)

        async def asked() -> bool:
            return sum(bool(call.ending) for call in await self.cluster.simulator.calls(key)) == times

        await eventually_true(asked, "the vendor has refused")

    @contextlib.asynccontextmanager
    async def between_two_calls(self, key: str) -> AsyncIterator[None]:
        """The vendor has refused twice and would take the third call, which the worker may make after the block."""
        await self.refused(key, 2)
        with self.worker.asleep():
            yield
        assert (await self.paid()).state == "cancelled"
        assert len(await self.cluster.simulator.calls(key)) == 2, "the vendor is not called any more"

    async def deferred(self) -> tuple[str, float] | None:
        """The customer's request that goes on at a later time: its id, and that time in Unix ms."""
        request_id = await self._under_way()
        if not request_id or await self.cluster.valkey.command("EXISTS", f"arq:in-progress:{request_id}") != 0:
            return None
        waits = await self.cluster.valkey.command("HGET", f"run:{request_id}", "waits")
        due_ms = await self.cluster.valkey.command("ZSCORE", keys.queue("openai", "interactive"), request_id)
        return (request_id, float(str(due_ms))) if waits and due_ms else None

    async def given_up(self) -> bool:
        """The front door has asked to cancel the customer's request."""
        request_id = await self._under_way()
        return bool(request_id and await self.cluster.valkey.command("ZSCORE", "arq:abort", request_id))

    async def _under_way(self) -> str:
        query = "SELECT id FROM requests WHERE account_id = $1 AND ended_at IS NULL"
        return str(await self.books.fetchval(query, self.caller.account_id) or "")

    @contextlib.asynccontextmanager
    async def reading(self, message: str, text: str) -> AsyncIterator[aiohttp.ClientResponse]:
        """A stream of which so much has been read; it is left at the end of the block."""
        body = {"model": MODEL, "messages": [{"role": "user", "content": message}], "options": {"stream": True}}
        url, read = self.caller.url("/api/endpoint"), b""
        async with self.caller.session.post(url, json=body, headers=self.caller.authorization) as response:
            while read != text.encode():
                read += await response.content.readany()
                assert text.encode().startswith(read)
            yield response
            response.close()

    async def paid(self) -> Paid:
        """What the books say when nothing is under way any more."""
        left = await self.caller.settled(self.books)
        query = "SELECT DISTINCT state FROM requests WHERE account_id = $1"
        states = [state for (state,) in await self.books.fetch(query, self.caller.account_id)]
        assert len(states) <= 1, "all requests of a line end alike"
        return Paid(states[0] if states else None, CREDIT_NANO - left)

    async def estimates(self) -> set[bool]:
        """Whether what was charged is marked as an estimate."""
        query = "SELECT usage_estimated FROM requests WHERE account_id = $1 AND charged_nano > 0"
        return {estimated for (estimated,) in await self.books.fetch(query, self.caller.account_id)}


def a_key() -> str:
    return f"bill-{next(_keys)}-"


def price_of(model: str, tier: ServiceTier = "default") -> Price:
    catalogue = load_catalogue()
    found = catalogue.at_tier(catalogue.find(model), tier)
    assert found is not None
    return found.price


def reported(message: str, tokens: int, model: str = MODEL, tier: ServiceTier = "default") -> int:
    return price_of(model, tier).cost(Usage(prompt_tokens([message]), tokens))


def estimated(message: str, text: str = "", pieces: int = 0) -> int:
    """A token per four bytes and four for the message's frame; and of the output at least one for each piece."""
    output = max(-(-len(text.encode()) // 4), pieces)
    return price_of(MODEL).cost(Usage(-(-len(message.encode()) // 4) + 4, output))


def said(message: str, tokens: int | None = None) -> str:
    """What the simulator says to it, all or the first tokens."""
    return "".join(answer(UPSTREAM, message, from_message(message, Script()))[:tokens])
