"""How long a request waits for an upstream that may be called."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any, Self

import msgspec
import pytest
from arq.worker import Retry

from shared import clock
from shared.catalogue.models import Model
from shared.catalogue.upstreams import Upstream
from shared.errors import Expired, OperatorCredentials, ProviderBusy, RebootError
from shared.job import Fallback
from shared.lanes import ServiceTier
from shared.queue.upstreams import DRAINED, FAILS, REFUSED
from shared.settings import Settings
from tests.harness.builders import a_job, a_model
from workers.request.billing import Received
from workers.request.next_call import NextCall
from workers.upstreams.paces import CallTurn
from workers.upstreams.routes import NoneAvailable, Route
from workers.upstreams.states import REFRESH_S

SETTINGS = Settings(database_url="", redis_url="", upstream_wait_s=5, retry_in_place_s=1)
ROUTE = Route(Upstream(name="openai", provider="openai"), provider=None, model=a_job().model, pace_name="p")  # type: ignore[arg-type]


class Choices:
    """The routes of a worker whose upstreams are as they are told, one question after the other."""

    waiters = 0

    def __init__(self, *choices: Route | NoneAvailable) -> None:
        self._choices = list(choices)
        self.turns_come = True
        self.took_turn = False

    def is_in_turn(self, _: Model) -> bool:
        return any(isinstance(choice, NoneAvailable) or choice.turn.in_s for choice in self._choices)

    async def choose(self, *_: object, turn_within_s: float) -> Route | NoneAvailable:
        choice = self._choices.pop(0)
        is_late = isinstance(choice, Route) and choice.turn.in_s > turn_within_s
        self.took_turn |= isinstance(choice, Route) and not is_late
        return NoneAvailable(choice.turn.in_s, in_turn=True) if isinstance(choice, Route) and is_late else choice

    async def may_begin(self, _: Route) -> bool:
        comes, self.turns_come = self.turns_come, True
        return comes

    @contextlib.contextmanager
    def waiting(self) -> Iterator[None]:
        yield


class Run:
    """Redis, in which nobody has asked to abort; keeps what is noted of the run."""

    def __init__(self) -> None:
        self.noted: dict[str, Any] = {}

    async def zmscore(self, _: str, ids: list[str]) -> list[None]:
        return [None for _ in ids]

    def pipeline(self, *, transaction: bool) -> Run:
        assert not transaction
        return self

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        pass

    def hset(self, _: str, mapping: dict[str, Any]) -> None:
        self.noted |= mapping

    def hincrby(self, *_: object) -> None:
        pass

    def expire(self, *_: object) -> None:
        pass

    async def execute(self) -> None:
        pass


def next_call(
    *choices: Route | NoneAvailable,
    waited_s: float = 0,
    run: Run | None = None,
    in_chain: bool = False,
    is_well: bool = True,
    settings: Settings = SETTINGS,
    turns_come: bool = True,
    tier: ServiceTier = "default",
    left_s: float = 600,
) -> NextCall:
    """Of a request that was admitted a moment ago: its deadline is never that of another test."""
    job = a_job(model=a_model(service_tier=tier), deadline_ms=clock.now_ms() + round(left_s * 1000))
    if in_chain:
        behind = Fallback(model=job.model, price=job.price, sampling=job.sampling, output_limit=1)
        job = msgspec.structs.replace(job, fallbacks=(behind,))
    since = clock.now_ms() - round(waited_s * 1000) if waited_s else 0
    received = Received(waits_since_ms=since)

    async def next_is_well() -> bool:
        return is_well

    routes = Choices(*choices)
    routes.turns_come = turns_come
    return NextCall(job, routes, run or Run(), settings, received, next_is_well)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("closed", "waited_s"),
    [
        (NoneAvailable(0.001), 0),
        (NoneAvailable(0.001), 4),
        (NoneAvailable(0.001, serves=True), 0),
        (NoneAvailable(0.001, serves=True), 60),
        (NoneAvailable(0.001, probed=True), 9),
    ],
)
async def test_who_still_has_patience_is_served_when_one_opens(closed: NoneAvailable, waited_s: float) -> None:
    calls = next_call(closed, closed, ROUTE, waited_s=waited_s)
    assert await calls.first() is ROUTE
    assert calls._received.waits_since_ms == 0


@pytest.mark.parametrize(
    ("closed", "waited_s", "kind", "told"),
    [
        (NoneAvailable(0.001), 6, ProviderBusy, FAILS),
        (NoneAvailable(3), 4, ProviderBusy, FAILS),
        (NoneAvailable(0.001, probed=True), 11, ProviderBusy, FAILS),
        (NoneAvailable(6), 0, ProviderBusy, FAILS),
        (NoneAvailable(float("inf"), because=DRAINED), 0, ProviderBusy, DRAINED),
        (NoneAvailable(6, because=REFUSED), 0, OperatorCredentials, REFUSED),
    ],
)
async def test_who_would_wait_for_too_long_is_told_at_once(
    closed: NoneAvailable, waited_s: float, kind: type[RebootError], told: str
) -> None:
    with pytest.raises(kind, match=told):
        await next_call(closed, ROUTE, waited_s=waited_s).first()


def test_a_request_that_waits_while_another_tries_an_upstream_outlasts_the_permit_of_a_dead_worker() -> None:
    assert REFRESH_S < SETTINGS.upstream_permit_s <= SETTINGS.upstream_wait_s


async def test_the_wait_goes_on_where_it_was_when_it_is_continued_from_the_queue() -> None:
    run = Run()
    with pytest.raises(Retry):
        await next_call(NoneAvailable(2), waited_s=2.5, run=run).first()
    assert 2_000 < clock.now_ms() - int(run.noted["waits_since"]) < 60_000


async def test_a_model_of_a_chain_is_waited_for_only_when_no_later_one_can_be_called() -> None:
    assert await next_call(NoneAvailable(0.001), ROUTE, in_chain=True, is_well=False).first() is ROUTE
    with pytest.raises(Retry):
        await next_call(NoneAvailable(2), in_chain=True, is_well=False).first()
    for wait_s in (0.001, 2):
        with pytest.raises(ProviderBusy):
            await next_call(NoneAvailable(wait_s), ROUTE, in_chain=True).first()


IN_TURN = ROUTE._replace(turn=CallTurn(in_s=0.001))
OLD_AT_ONCE = msgspec.structs.replace(SETTINGS, upstream_throttled_s=0)


async def test_a_turn_is_waited_for_and_another_one_taken_when_it_has_passed() -> None:
    assert await next_call(IN_TURN).first() is IN_TURN
    assert await next_call(IN_TURN, ROUTE, turns_come=False).first() is ROUTE


@pytest.mark.parametrize(("tier", "kind"), [("default", ProviderBusy), ("flex", Expired)])
async def test_a_turn_that_comes_after_the_deadline_is_not_taken(tier: ServiceTier, kind: type[RebootError]) -> None:
    calls: Any = next_call(ROUTE._replace(turn=CallTurn(in_s=0.9)), tier=tier, left_s=0.5)
    with pytest.raises(kind):
        await calls.first()
    assert not calls._routes.took_turn


@pytest.mark.parametrize(("settings", "in_chain"), [(OLD_AT_ONCE, False), (SETTINGS, True)])
async def test_a_later_turn_is_not_taken_by_who_has_waited_for_long_or_has_another_model(
    settings: Settings, *, in_chain: bool
) -> None:
    assert await next_call(IN_TURN, in_chain=in_chain, is_well=False).first() is IN_TURN
    calls: Any = next_call(IN_TURN, in_chain=in_chain, settings=settings, waited_s=6)
    with pytest.raises(ProviderBusy):
        await calls.first()
    assert not calls._routes.took_turn


async def test_where_calls_take_turns_patience_is_for_as_long_as_a_vendor_may_throttle() -> None:
    closed = NoneAvailable(0.001, in_turn=True)
    assert await next_call(closed, ROUTE, waited_s=6).first() is ROUTE
    with pytest.raises(ProviderBusy):
        await next_call(closed, ROUTE, waited_s=6, settings=OLD_AT_ONCE).first()
