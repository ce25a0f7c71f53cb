"""Shows operators the upstreams, and drains, enables and checks these."""

from __future__ import annotations

import asyncio
import datetime as dt
import math
from typing import TYPE_CHECKING

import msgspec

from shared import clock
from shared.errors import NotFound
from shared.ids import new_id
from shared.operators import switches
from shared.operators.audit import Author
from shared.operators.switches import off_since
from shared.queue.heartbeat import living_workers
from shared.queue.upstreams import PublishedRow, UpstreamReport, UpstreamState, UpstreamStates, published_rows, try_now
from shared.stores import keys

if TYPE_CHECKING:
    import asyncpg
    import redis.asyncio

    from shared.stores.postgres import Connection

CHECK_LIVE_MS = 60_000
CHECK_WITHIN_S = 45.0
LOOK_S = 0.2
WELL = "ok"


class UpstreamRow(msgspec.Struct, frozen=True, kw_only=True):
    """An upstream that a living worker holds: one key of a vendor at one address or in one region."""

    name: str
    """The name of the upstream."""
    provider: str
    """The provider that the upstream belongs to."""
    state: str
    """`closed` (calls go there), `open` (no calls until `cooling_until`), `half open` (the next call tries it), `rising`
    (few calls at once) or `drained` (by an operator).
    """
    models: tuple[str, ...]
    """The public names of the models that are called through the upstream."""
    cooling_until: dt.datetime | None
    """The time at which calls go there again, or at which the vendor takes calls of some model again; null if there is
    nothing to wait for.
    """
    calls: int
    """The number of calls since Redis knows the upstream."""
    errors: int
    """The number of failed calls since Redis knows the upstream."""


class UpstreamDetails(UpstreamRow, frozen=True, kw_only=True):
    """An upstream, with the `reason` for which it is not closed, and the time since which: `failures`, `credentials`
    that are refused, `credit` that is used up, or an `operator`.
    """

    reason: str
    since: dt.datetime | None

    def row(self) -> UpstreamRow:
        """The upstream without reason and time."""
        return UpstreamRow(**{name: getattr(self, name) for name in UpstreamRow.__struct_fields__})


async def list_upstreams(
    source: asyncpg.Pool | Connection, client: redis.asyncio.Redis, states: UpstreamStates
) -> list[UpstreamDetails]:
    """All upstreams that living workers hold, in their present state. Raises asyncpg's and redis-py's errors and
    `Unavailable`.
    """
    names = sorted({name for worker in await living_workers(client) for name in worker.upstreams})
    known = await states.exchange([UpstreamReport(name) for name in names])
    off = await off_since(source)
    return [
        _row(row, known.states[row.name], known.cooling, drained_since=off.get(("upstream", row.name)))
        for row in await published_rows(client, names)
    ]


async def drain(
    source: asyncpg.Pool | Connection,
    client: redis.asyncio.Redis,
    states: UpstreamStates,
    name: str,
    *,
    author: Author | None = None,
) -> list[UpstreamDetails]:
    """Take an upstream out of service: workers make no new call to it once they have heard of it (`heard.py`). Raises
    `NotFound` if no living worker holds it.
    """
    await _require(source, client, states, name)
    await switches.drain_upstream(source, name, drained=True, author=author)
    return await _only(source, client, states, name)


async def enable(
    source: asyncpg.Pool | Connection,
    client: redis.asyncio.Redis,
    states: UpstreamStates,
    name: str,
    *,
    author: Author | None = None,
) -> list[UpstreamDetails]:
    """Put an upstream back into service; if its breaker is open, the next call tries it now. Raises `NotFound` as `drain`
    does.
    """
    await _require(source, client, states, name)
    await switches.drain_upstream(source, name, drained=False, author=author)
    await try_now(client, name)
    return await _only(source, client, states, name)


async def check(
    source: asyncpg.Pool | Connection, client: redis.asyncio.Redis, states: UpstreamStates, name: str
) -> tuple[list[UpstreamDetails], str]:
    """Make a worker call the upstream once, at the operator's cost. Also returns the outcome: `WELL`, or the reason of
    the failure. Raises `NotFound` as `drain` does.
    """
    await _require(source, client, states, name)
    token = new_id("check")
    await client.hset(keys.upstream(name), "check", token)  # type: ignore[misc]
    outcome = "no worker has answered in time"
    for _ in range(int(CHECK_WITHIN_S / LOOK_S)):
        await asyncio.sleep(LOOK_S)
        if found := await client.get(keys.check(token)):
            outcome = found.decode()
            break
    return await _only(source, client, states, name), outcome


async def asked_checks(client: redis.asyncio.Redis, names: list[str]) -> list[tuple[str, str]]:
    """The checks that this worker must make: names of upstreams and tokens. No other worker gets them. Raises
    redis-py's errors.
    """
    async with client.pipeline(transaction=False) as pipe:
        for name in names:
            pipe.hget(keys.upstream(name), "check")
        asked = [(name, token.decode()) for name, token in zip(names, await pipe.execute(), strict=True) if token]
    return [one for one in asked if await client.set(keys.check(one[1]), b"", nx=True, px=CHECK_LIVE_MS)]


async def tell_check(client: redis.asyncio.Redis, name: str, token: str, outcome: str) -> None:
    """Publish the outcome of a check. Raises redis-py's errors."""
    async with client.pipeline(transaction=False) as pipe:
        pipe.set(keys.check(token), outcome, px=CHECK_LIVE_MS)
        pipe.hdel(keys.upstream(name), "check")
        await pipe.execute()


async def _require(
    source: asyncpg.Pool | Connection, client: redis.asyncio.Redis, states: UpstreamStates, name: str
) -> None:
    if name not in {row.name for row in await list_upstreams(source, client, states)}:
        raise NotFound(f"No living worker holds an upstream {name[:100]}: `rebootml upstream list` shows all.")


async def _only(
    source: asyncpg.Pool | Connection, client: redis.asyncio.Redis, states: UpstreamStates, name: str
) -> list[UpstreamDetails]:
    return [row for row in await list_upstreams(source, client, states) if row.name == name]


def _row(
    row: PublishedRow, state: UpstreamState, cooling: dict[str, float], *, drained_since: dt.datetime | None
) -> UpstreamDetails:
    waits = [wait_s for pace, wait_s in cooling.items() if pace.rpartition("/")[0] == row.name]
    wait_s = max([state.wait_s if state.state == "open" else 0.0, *waits])
    now = clock.utc_now()
    until = now + dt.timedelta(seconds=math.ceil(wait_s)) if wait_s else None
    not_closed_since = now - dt.timedelta(seconds=state.not_closed_s) if state.state != "closed" else None
    return UpstreamDetails(
        name=row.name,
        provider=row.provider,
        state="drained" if drained_since else state.state,
        models=row.models,
        cooling_until=until,
        calls=state.calls,
        errors=state.errors,
        reason="operator" if drained_since else state.reason,
        since=drained_since or not_closed_since,
    )
