"""Models of an overlay with one key or several, what befalls their keys, and what all of that came to."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

import redis.asyncio

from deploy.simulator.calls import Call
from shared.queue.upstreams import StateName, UpstreamReport, UpstreamStates
from shared.settings import Settings
from shared.stores.redis_client import connect
from shared.stores.scripts import Scripts
from tests.faults.clients import INPUT_PRICE, OUTPUT_PRICE, UPSTREAM
from tests.harness.cluster import Cluster, running_cluster
from tests.harness.servers import Simulator
from tests.harness.support import free_port

LOOK_S = 0.2
NOT_CALLED = frozenset({"open", "half open"})
HEARD_AFTER_S = 1.5
"""So long after an opening the last worker has heard of it."""
MODEL_ROW = """
[[model]]
name = "{name}"
company = "Acme"
provider = "openai"
api = "openai-chat"
upstream = "{upstream}"
input = {input}
output = {output}
context_window = 128000
max_output_tokens = 16384
limit_parameter = "max_completion_tokens"
lifecycle = "active"
sources = "the operator"
"""
UPSTREAM_ROW = """
[[upstream]]
name = "{name}"
provider = "openai"
key_variable = "OPENAI_{account}_KEY"
base_url = "http://127.0.0.1:{port}/at/{account}/v1"
models = ["{model}"]
cost_factor = {factor}
"""


class Way(NamedTuple):
    """An upstream: `account` is the end of its key, and its region."""

    name: str
    account: str
    factor: Decimal

    @property
    def key(self) -> str:
        return f"sk-{self.account}"


class Sold(NamedTuple):
    """A model and its ways. The first one costs a tenth more than the list price, so that none is taken for another."""

    name: str
    ways: tuple[Way, ...]

    def row(self, port: int) -> str:
        prices = {"input": INPUT_PRICE / 1e9, "output": OUTPUT_PRICE / 1e9}
        rows = [MODEL_ROW.format(name=self.name, upstream=UPSTREAM, **prices)]
        for way in self.ways:
            about = {"account": way.account, "factor": way.factor, "model": self.name}
            rows.append(UPSTREAM_ROW.format(name=way.name, port=port, **about))
        return "".join(rows)


def sold(name: str, number: int, keys: int) -> Sold:
    """A model with so many keys; `number` tells it from others."""
    factors = [Decimal("1.1"), *[Decimal(1)] * (keys - 1)]
    ways = [Way(f"{name}-{place}", f"{number:03}{'ABC'[place]}", factor) for place, factor in enumerate(factors)]
    return Sold(name, tuple(ways))


@asynccontextmanager
async def selling(
    folder: Path, environment: dict[str, str], models: Sequence[Sold], *, workers: int = 2
) -> AsyncIterator[Cluster]:
    """A cluster with an overlay that has these models, and their keys."""
    port, overlay = free_port(), folder / "overlay.toml"
    overlay.write_text("".join(model.row(port) for model in models), encoding="utf-8")
    keys = {f"OPENAI_{way.account}_KEY": way.key for model in models for way in model.ways}
    settings = environment | keys | {"CATALOGUE": str(overlay)}
    async with running_cluster(folder, settings, doors=1, workers=workers, direct=True, vendor_port=port) as cluster:
        yield cluster


class Watch:
    """How upstreams were, as all workers know it: (Unix time, state) whenever it was looked at, and how many calls of each
    account were answered by then.
    """

    def __init__(self, names: Sequence[str], states: UpstreamStates, simulator: Simulator) -> None:
        self._names = names
        self._states = states
        self._simulator = simulator
        self._looked = asyncio.Event()
        self.answered: dict[str, int] = {}
        self.seen: dict[str, list[tuple[float, StateName]]] = {name: [] for name in names}

    async def run(self) -> None:
        while True:
            known = await self._states.exchange([UpstreamReport(name) for name in self._names])
            for name, state in known.states.items():
                self.seen[name].append((time.time(), state.state))
            self.answered = await self._simulator.answered()
            self._looked.set()
            await asyncio.sleep(LOOK_S)

    async def until_answered(self, account: str, more_than: int, within_s: float) -> None:
        """Wait until so many calls of an account were answered."""
        async with asyncio.timeout(within_s):
            while self.answered.get(account, 0) <= more_than:
                self._looked.clear()
                await self._looked.wait()

    def ever_opened(self, name: str) -> bool:
        """Whether it was seen not to take calls."""
        return any(state in NOT_CALLED for _, state in self.seen[name])

    def was_open(self, name: str, moment: float) -> bool:
        """Whether it took none then, and every worker had heard of that."""
        about = [state for at, state in self.seen[name] if -HEARD_AFTER_S <= at - moment <= LOOK_S]
        return bool(about) and all(state in NOT_CALLED for state in about)


@asynccontextmanager
async def watching(cluster: Cluster, names: Sequence[str]) -> AsyncIterator[Watch]:
    """Looks at them while the block runs."""
    variables = {**cluster.environment, "DATABASE_URL": cluster.postgres.url, "REDIS_URL": cluster.valkey.url}
    settings = Settings.load(variables)
    async with connect(settings, redis.asyncio.Redis) as client:
        with contextlib.closing(Scripts(client, settings)) as scripts:
            watch = Watch(names, UpstreamStates(scripts, settings), cluster.simulator)
            looking = asyncio.create_task(watch.run())
            try:
                yield watch
            finally:
                looking.cancel()
                await asyncio.wait([looking])


def at_once(calls: Iterable[Call]) -> int:
    """How many of them ran at the same time, at most."""
    moments = [(call.started_at, 1) for call in calls] + [(call.ended_at or time.time(), -1) for call in calls]
    running = most = 0
    for _, step in sorted(moments):
        running += step
        most = max(most, running)
    return most


class Books(NamedTuple):
    """Of an upstream, in nano-USD: what is `booked` for `known` calls, of whose tokens the vendor told, and `billed` for
    `answered` ones; `estimated` calls and what is booked for them; `broken` ones and what the vendor bills for them.
    """

    known: int
    booked: int
    answered: int
    billed: int
    estimated: int
    estimated_nano: int
    broken: int
    broken_nano: int


_BOOKED = """
SELECT COALESCE(name, 'unknown') AS name, count(*) FILTER (WHERE NOT estimated) AS known,
    COALESCE(sum(cost) FILTER (WHERE NOT estimated), 0)::bigint AS booked,
    count(*) FILTER (WHERE estimated) AS estimated, COALESCE(sum(cost) FILTER (WHERE estimated), 0)::bigint AS estimated_nano
FROM (
    SELECT upstream_name AS name, vendor_cost_nano AS cost, usage_estimated AS estimated FROM requests WHERE account_id = $1
    UNION ALL
    SELECT l.upstream, l.vendor_cost_nano, l.estimated
    FROM lost_calls l JOIN requests r ON r.id = l.request_id WHERE r.account_id = $1
) calls GROUP BY 1
"""


_NOTHING = {"known": 0, "booked": 0, "estimated": 0, "estimated_nano": 0}


async def books_of(cluster: Cluster, account_id: str, ways: Iterable[Way]) -> dict[str, Books]:
    """What is booked for each upstream, and what its vendor bills."""
    lines: dict[str, list[Any]] = {}
    for line in await cluster.simulator.bill():
        lines.setdefault(line.account, []).append(line)
    booked = {row["name"]: row for row in await cluster.postgres.fetch(_BOOKED, account_id)}
    found = {}
    for way in ways:
        row, bill = booked.get(way.name, _NOTHING), lines.get(way.account, [])
        found[way.name] = Books(
            row["known"],
            row["booked"],
            sum(line.calls for line in bill),
            sum(_cost(line.prompt_tokens, line.output_tokens, way) for line in bill),
            row["estimated"],
            row["estimated_nano"],
            sum(line.broken_calls for line in bill),
            sum(_cost(line.broken_prompt_tokens, line.broken_output_tokens, way) for line in bill),
        )
    return found


def _cost(input_tokens: int, output_tokens: int, way: Way) -> int:
    """The prices of the models here are whole nano-USD a token, also with a factor of 1.1."""
    nano = (input_tokens * INPUT_PRICE + output_tokens * OUTPUT_PRICE) // 1_000_000 * way.factor
    assert nano == int(nano)
    return int(nano)
