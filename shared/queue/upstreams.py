"""The state of upstreams that all workers share through Redis (`lua/upstreams.lua`)."""

from __future__ import annotations

import random
from collections.abc import Collection, Iterable, Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Literal, NamedTuple

import msgspec

from shared.errors import OperatorCredentials, ProviderBusy, RebootError
from shared.stores import keys

if TYPE_CHECKING:
    import redis.asyncio

    from shared.settings import Settings
    from shared.stores.redis_connections import Word
    from shared.stores.scripts import Scripts

StateName = Literal["closed", "rising", "half open", "open"]


class Outcome(StrEnum):
    """The outcome of a call for its upstream, with the letter that `upstreams.lua` reads."""

    ANSWERED = "s"
    REFUSED = "n"
    """The vendor refused the request; the upstream works."""
    FAILED = "f"
    CREDENTIALS_REFUSED = "c"
    CREDIT_USED_UP = "x"


class UpstreamState(msgspec.Struct, frozen=True, kw_only=True):
    """The state of one upstream. `state` is explained in `upstreams.lua`; `reason` says why it is not closed
    (`failures`, `credentials`, `credit`). An open breaker is half open in `wait_s` seconds; the breaker has not been
    closed for `not_closed_s`. `calls` and `errors` are counted since Redis knows the upstream. `entered` are the states
    that the present outcomes have led to.
    """

    name: str
    state: StateName = "closed"
    reason: str = ""
    wait_s: float = 0.0
    not_closed_s: float = 0.0
    term: int = 0
    permitted: bool = False
    calls: int = 0
    errors: int = 0
    entered: tuple[StateName, ...] = ()


FAILS = "its vendor fails or throttles"
DRAINED = "an operator has taken it out of service"
REFUSED = "its vendor refuses this service's own account, of which the operator has been told"


def why_none_is_available(states: Iterable[UpstreamState], drained: Collection[str]) -> str:
    """The reason for which no upstream of a model may be called, in words for callers."""
    left = [state for state in states if state.name not in drained]
    if not left:
        return DRAINED
    return REFUSED if all(state.reason in {"credentials", "credit"} for state in left) else FAILS


class AccountRefused(OperatorCredentials):
    """No vendor was asked: the vendors of all upstreams have refused the operator's account before, and an alert has
    told so.
    """


def none_is_available(model: str, because: str, wait_s: float | None) -> RebootError:
    """The error for the caller of a model whose upstreams may not be called, for `wait_s` seconds if that is known."""
    if because == REFUSED:
        return AccountRefused(f"{model} cannot be called now, because {because}: take another model.")
    return ProviderBusy(f"{model} cannot be called now, because {because}: try again later.", retry_after_s=wait_s)


class UpstreamReport(NamedTuple):
    """A worker's report about one upstream: the `outcomes` of calls in one `term` of the breaker, the permits to give
    back and to keep, and the permit that it wants.
    """

    name: str
    term: int = 0
    outcomes: str = ""
    released: str = ""
    kept: str = ""
    wanted: str = ""


class Known(NamedTuple):
    """The states by name, and the seconds for which pace names are cooling."""

    states: dict[str, UpstreamState]
    cooling: dict[str, float]


class UpstreamStates:
    """Reads and updates the shared states."""

    def __init__(self, scripts: Scripts, settings: Settings) -> None:
        self._scripts = scripts
        self._rules: tuple[Word, ...] = (
            settings.upstream_calls_min,
            settings.upstream_failed_percent,
            settings.upstream_failed_in_row,
            int(settings.upstream_window_s * 1000),
            int(settings.upstream_open_s * 1000),
            int(settings.upstream_open_max_s * 1000),
        )
        self._more: tuple[Word, ...] = (settings.upstream_ramp_max, int(settings.upstream_permit_s * 1000))

    async def exchange(self, told: Sequence[UpstreamReport]) -> Known:
        """Report outcomes and read the state of each upstream that was named. If two reports name the same upstream, the
        later answer is newer. A report that is repeated after a lost answer counts twice. Raises `Unavailable`.
        """
        names = [name for one in told for name in (keys.upstream(one.name), keys.permits(one.name))]
        words: list[Word] = [*self._rules, f"{random.random():.4f}", *self._more]  # noqa: S311 - spreads load
        for one in told:
            words += one[1:]
        cooling, *answers = await self._scripts.call("upstreams", [keys.COOLING, *names], words)
        states = {one.name: _state(one.name, answer) for one, answer in zip(told, answers, strict=True)}
        pairs = zip(cooling[::2], cooling[1::2], strict=True)
        return Known(states, {name.decode(): wait_ms / 1000 for name, wait_ms in pairs})


async def try_now(client: redis.asyncio.Redis, name: str) -> None:
    """If the breaker is open, let the next call try the upstream, because something about it has changed. Raises redis-py's
    errors.
    """
    if await client.hexists(keys.upstream(name), "until"):  # type: ignore[misc] # typed for both clients
        await client.hset(keys.upstream(name), "until", "0")  # type: ignore[misc]


class PublishedRow(msgspec.Struct, frozen=True):
    """A worker's description of an upstream for operators; `models` are public names."""

    name: str
    provider: str
    models: tuple[str, ...]


async def publish_rows(client: redis.asyncio.Redis, rows: Sequence[PublishedRow]) -> None:
    """Publish descriptions of upstreams for operators. Raises redis-py's errors."""
    async with client.pipeline(transaction=False) as pipe:
        for row in rows:
            pipe.hset(keys.upstream(row.name), "shown", msgspec.json.encode(row).decode())
        await pipe.execute()


async def published_rows(client: redis.asyncio.Redis, names: Sequence[str]) -> list[PublishedRow]:
    """The rows of those `names` that are known. Raises redis-py's errors."""
    async with client.pipeline(transaction=False) as pipe:
        for name in names:
            pipe.hget(keys.upstream(name), "shown")
        return [msgspec.json.decode(row, type=PublishedRow) for row in await pipe.execute() if row]


def _state(name: str, answer: list) -> UpstreamState:  # type: ignore[type-arg] # as the script writes it
    state, reason, wait_ms, term, permitted, calls, errors, entered, not_closed_ms = answer
    return UpstreamState(
        name=name,
        state=state.decode(),
        reason=reason.decode(),
        wait_s=wait_ms / 1000,
        not_closed_s=not_closed_ms / 1000,
        term=term,
        permitted=bool(permitted),
        calls=calls,
        errors=errors,
        entered=tuple(one.decode() for one in entered),
    )
