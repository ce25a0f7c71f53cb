"""A customer: an account, a key, and the ways to call the API."""

from __future__ import annotations

import asyncio
import copy
import json
from decimal import Decimal
from itertools import cycle
from typing import Any, NamedTuple

import aiohttp
import asyncpg
from multidict import CIMultiDictProxy

from deploy.simulator.answer import answer, prompt_tokens
from deploy.simulator.script import Script, from_message
from tests.harness.cluster import Cluster
from tests.harness.support import eventually_true

MODEL = "openai-gpt-4o-mini"
THROTTLED_MODEL = "openai-gpt-5.4"
"""For tests whose vendor throttles: requests for a model that was throttled take turns for a while, whoever asks."""
UPSTREAM = "gpt-4o-mini-2024-07-18"
INPUT_PRICE, OUTPUT_PRICE = 150_000_000, 600_000_000


class Reply(NamedTuple):
    """`complete` is false when the transfer broke off."""

    status: int
    headers: CIMultiDictProxy[str]
    body: bytes
    complete: bool

    @property
    def json(self) -> Any:
        return json.loads(self.body, parse_float=Decimal)

    @property
    def error(self) -> dict[str, str]:
        document = self.json
        assert document["status"] == 0
        error: dict[str, str] = document["error"]
        assert error["request_id"] == self.headers["x-request-id"]
        return error


class Caller:
    def __init__(self, session: aiohttp.ClientSession, cluster: Cluster, account_id: str, key: str) -> None:
        self.session = session
        self._cluster = cluster
        self.urls = cluster.urls
        self._urls = cycle(self.urls)
        self.account_id = account_id
        self.key = key

    @property
    def authorization(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.key}"}

    def url(self, path: str) -> str:
        """At the next front door in turn."""
        return next(self._urls) + path

    def at(self, url: str) -> Caller:
        """The same customer at that front door only."""
        moved = copy.copy(self)
        moved.urls = [url]
        moved._urls = cycle(moved.urls)
        return moved

    async def release(self, key: str) -> None:
        """Let the simulator go on with what it holds."""
        await self._cluster.simulator.release(key)

    async def request(self, method: str, path: str, **arguments: Any) -> Reply:
        headers = self.authorization | arguments.pop("headers", {})
        async with self.session.request(method, self.url(path), headers=headers, **arguments) as response:
            body, complete = b"", True
            try:
                async for data in response.content.iter_any():
                    body += data
            except aiohttp.ClientPayloadError:
                complete = False
            return Reply(response.status, response.headers, body, complete)

    async def raw(self, data: bytes) -> bytes:
        """Send bytes as they are; gives what comes back until the connection is closed."""
        host, _, port = self.url("").removeprefix("http://").partition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        try:
            writer.write(data)
            async with asyncio.timeout(20):
                return await reader.read()
        finally:
            writer.close()

    async def chat(self, text: str, model: str = MODEL, headers: dict[str, str] | None = None, **options: Any) -> Reply:
        body = {"model": model, "messages": [{"role": "user", "content": text}], "options": options}
        return await self.request("POST", "/api/endpoint", json=body, headers=headers or {})

    async def wallet(self) -> dict[str, str]:
        result: dict[str, str] = (await self.request("GET", "/api/account")).json["result"]
        return result

    async def settled(self, books: asyncpg.Pool) -> int:
        """Wait until nothing is held; gives the balance in nano-USD."""
        query = "SELECT balance_nano FROM accounts WHERE id = $1 AND held_nano = 0 AND in_flight = 0"

        async def balance() -> int | None:
            found: int | None = await books.fetchval(query, self.account_id)
            return None if found is None else found + 1  # a balance of nothing is an answer too

        return await eventually_true(balance, "nothing is held any more") - 1


def told(**script: Any) -> str:
    """A message that tells the simulator what to answer, at once unless it says otherwise."""
    words = {"first_ms": 0, "pace_ms": 0, **script}
    return f"[[sim {' '.join(f'{name}={value}' for name, value in words.items())}]]"


def expected(message: str) -> str:
    """The whole answer to a message made by `told`."""
    return "".join(answer(UPSTREAM, message, from_message(message, Script())))


def cost_nano(message: str, output_tokens: int) -> int:
    """What the answer costs, computed once more, from the list price."""
    return -(-(prompt_tokens([message]) * INPUT_PRICE + output_tokens * OUTPUT_PRICE) // 1_000_000)


def hold_nano(message: str, max_tokens: int) -> int:
    """What is held for it: a token per UTF-8 byte and 8 for the message, and the whole output limit."""
    return -(-((len(message.encode()) + 8) * INPUT_PRICE + max_tokens * OUTPUT_PRICE) // 1_000_000)
