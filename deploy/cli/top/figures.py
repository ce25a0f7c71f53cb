"""The figures of `rebootml top`, and the rates at which they change."""

from __future__ import annotations

import time
from collections import Counter, deque
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING

import msgspec

from shared.errors import ModelNotFound
from shared.money import NanoUsd, nano_to_usd
from shared.operators.switches import off_since
from shared.queue.demand import EVERYTHING, Demand
from shared.queue.heartbeat import living_workers
from shared.queue.routing import QueueRow, WorkerRow, list_workers, show_queues
from shared.queue.upstream_rows import UpstreamDetails, list_upstreams
from shared.queue.upstreams import UpstreamStates
from shared.runtime.last_minute import Lately, percentile
from shared.stores.postgres import load_queries
from shared.vendors import PROVIDERS

if TYPE_CHECKING:
    import asyncpg
    import redis.asyncio

    from shared.catalogue.models import Catalogue
    from shared.settings import Settings
    from shared.stores.scripts import Scripts

SQL = load_queries("figures")
RATES_OVER_S = 5.0
NANO_PER_USD = 1_000_000_000
OUT = ("open", "half open", "drained")
COUNTED = ("requests", "failed", "charged_nano")


class Rates(msgspec.Struct, frozen=True, kw_only=True):
    """Rates of requests that ended within the last few seconds. Tokens are those of answers, including running ones,
    estimated as they arrive.
    """

    requests_per_s: float = 0.0
    failed_per_s: float = 0.0
    tokens_per_s: float = 0.0
    usd_per_min: float = 0.0


class Times(msgspec.Struct, frozen=True, kw_only=True):
    """Times of interactive requests within the last minute, accurate to a tenth: the time in the queue, and for streams
    the time from the call to the first token. None without requests.
    """

    wait_p50_s: float | None = None
    wait_p95_s: float | None = None
    first_token_p50_s: float | None = None
    first_token_p95_s: float | None = None


class VendorFigures(msgspec.Struct, frozen=True, kw_only=True):
    """The figures of one vendor. `state` is `serving`, `paused` by an operator, `no worker`, `drained` if an operator
    has drained all its upstreams, or `open` if none of them takes calls; `since` is the time since which, if it is
    known.
    """

    name: str
    state: str
    since: datetime | None
    ready: int
    running: int
    deferred: int
    oldest_age_s: float
    workers: int
    slots_wanted: int
    rates: Rates
    times: Times


class WorkerFigures(WorkerRow, frozen=True, kw_only=True):
    """A worker, and the time since which an operator has drained it."""

    since: datetime | None


class Money(msgspec.Struct, frozen=True, kw_only=True):
    """Sums of all accounts, as exact decimal strings."""

    accounts: int
    balance_usd: str
    held_usd: str
    available_usd: str
    charged_today_usd: str
    requests_today: int
    requests_in_flight: int


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """One snapshot. A worker counts with all its slots, whichever queues it serves."""

    at: datetime
    slots: int
    slots_running: int
    slots_wanted: int
    rates: Rates
    times: Times
    vendors: list[VendorFigures]
    upstreams: list[UpstreamDetails]
    queues: list[QueueRow]
    workers: list[WorkerFigures]
    money: Money


class Source:
    """Reads figures: `read` takes a snapshot; rates need two snapshots."""

    def __init__(
        self,
        pool: asyncpg.Pool,
        client: redis.asyncio.Redis,
        scripts: Scripts,
        catalogue: Catalogue,
        settings: Settings,
    ) -> None:
        self._pool = pool
        self._client = client
        self._scripts = scripts
        self._catalogue = catalogue
        self._settings = settings
        self._states = UpstreamStates(scripts, settings)
        self._demand = Demand(pool, scripts, catalogue, settings)
        self._since = _today() - timedelta(days=1)
        self._counted: deque[tuple[float, dict[str, Counter[str]]]] = deque()

    async def read(self) -> Figures:
        """Take a snapshot. Raises `Unavailable`, asyncpg's and redis-py's errors."""
        queues = (await show_queues(self._pool, self._client, self._scripts, self._settings)).queues
        workers = await list_workers(self._pool, self._client)
        upstreams = await list_upstreams(self._pool, self._client, self._states)
        off = await off_since(self._pool)
        seen = [heartbeat.lately for heartbeat in await living_workers(self._client)]
        wanted = (await self._demand.scale()).slots_wanted
        used = await self._pool.fetch(SQL["used"], self._since, _today())
        rates = self._rates(used, seen)
        vendors = [
            _vendor(
                name,
                queues,
                workers,
                upstreams,
                paused_since=off.get(("provider", name)),
                slots_wanted=wanted.get(name, 0),
                rates=rates[name],
                times=_times([lately[name] for lately in seen if name in lately]),
            )
            for name in PROVIDERS
        ]
        return Figures(
            at=datetime.now(UTC),
            slots=sum(worker.slots for worker in workers if not worker.draining),
            slots_running=sum(worker.running for worker in workers),
            slots_wanted=wanted[EVERYTHING],
            rates=rates[EVERYTHING],
            times=_times([one for lately in seen for one in lately.values()]),
            vendors=vendors,
            upstreams=upstreams,
            queues=queues,
            workers=[
                WorkerFigures(**msgspec.structs.asdict(worker), since=off.get(("worker", worker.id)))
                for worker in workers
            ],
            money=_money((await self._pool.fetch(SQL["money"]))[0], used),
        )

    def _rates(self, used: list[asyncpg.Record], seen: list[dict[str, Lately]]) -> dict[str, Rates]:
        """Rates by vendor and in all, from growing counters, and from what workers report of their tokens."""
        counted = {name: Counter[str]() for name in (*PROVIDERS, EVERYTHING)}
        for row in used:
            values = {name: row[name] for name in COUNTED}
            counted[EVERYTHING].update(values)
            if provider := self._provider(row["model"]):
                counted[provider].update(values)
        now = time.monotonic()
        self._counted.append((now, counted))
        while len(self._counted) > 2 and now - self._counted[1][0] >= RATES_OVER_S:  # noqa: PLR2004 - two make a rate
            self._counted.popleft()
        began, before = self._counted[0]
        tokens = {
            name: sum((lately[name].tokens_per_s for lately in seen if name in lately), 0.0) for name in PROVIDERS
        }
        tokens[EVERYTHING] = sum(tokens.values())
        return {name: _rates(counted[name] - before[name], now - began, tokens[name]) for name in counted}

    def _provider(self, model: str) -> str | None:
        try:
            return self._catalogue.find(model).provider
        except ModelNotFound:  # the model is only in another release's catalogue
            return None


def _today() -> date:
    return datetime.now(UTC).date()


def _times(seen: list[Lately]) -> Times:
    waits, first_tokens = [one.waits for one in seen], [one.first_tokens for one in seen]
    return Times(
        wait_p50_s=percentile(waits, 0.5),
        wait_p95_s=percentile(waits, 0.95),
        first_token_p50_s=percentile(first_tokens, 0.5),
        first_token_p95_s=percentile(first_tokens, 0.95),
    )


def _rates(grown: Counter[str], seconds: float, tokens_per_s: float) -> Rates:
    if not seconds:
        return Rates(tokens_per_s=round(tokens_per_s, 1))
    return Rates(
        requests_per_s=round(grown["requests"] / seconds, 2),
        failed_per_s=round(grown["failed"] / seconds, 2),
        tokens_per_s=round(tokens_per_s, 1),
        usd_per_min=round(grown["charged_nano"] / seconds * 60 / NANO_PER_USD, 6),
    )


def _vendor(
    name: str,
    queues: list[QueueRow],
    workers: list[WorkerRow],
    upstreams: list[UpstreamDetails],
    *,
    paused_since: datetime | None,
    slots_wanted: int,
    rates: Rates,
    times: Times,
) -> VendorFigures:
    ours = [queue for queue in queues if queue.provider == name]
    taking = [
        worker for worker in workers if not worker.draining and any(q.startswith(f"{name}:") for q in worker.queues)
    ]
    held = [upstream for upstream in upstreams if upstream.provider == name]
    states = {upstream.state for upstream in held}
    out = "drained" if states == {"drained"} else "open" if states and states <= set(OUT) else ""
    out_since = max((one.since for one in held if one.since), default=None) if out else None
    state = "paused" if paused_since else "no worker" if not taking else out or "serving"
    return VendorFigures(
        name=name,
        state=state,
        since={"paused": paused_since, "no worker": None}.get(state, out_since),
        ready=sum(queue.ready for queue in ours),
        running=sum(queue.running for queue in ours),
        deferred=sum(queue.deferred for queue in ours),
        oldest_age_s=max(queue.oldest_age_s for queue in ours),
        workers=len(taking),
        slots_wanted=slots_wanted,
        rates=rates,
        times=times,
    )


def _money(row: asyncpg.Record, used: list[asyncpg.Record]) -> Money:
    return Money(
        accounts=row["accounts"],
        balance_usd=nano_to_usd(NanoUsd(row["balance_nano"])),
        held_usd=nano_to_usd(NanoUsd(row["held_nano"])),
        available_usd=nano_to_usd(NanoUsd(row["balance_nano"] - row["held_nano"])),
        charged_today_usd=nano_to_usd(NanoUsd(sum(one["charged_today_nano"] for one in used))),
        requests_today=sum(one["requests_today"] for one in used),
        requests_in_flight=row["in_flight"],
    )
