"""Which upstream a call goes to, and what its end tells."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from shared.catalogue.upstreams import Upstream, Upstreams
from shared.errors import Cancelled, InvalidRequest, ProviderTimeout, RebootError
from shared.queue.upstreams import DRAINED, Known, StateName, UpstreamReport, UpstreamState
from tests.harness.builders import a_model
from tests.harness.routing import Unpaced
from workers.providers.loading import LoadedApis
from workers.providers.wire import vendor_errors
from workers.providers.wire.vendor_errors import OutOfTime
from workers.upstreams.outcomes import outcome_of
from workers.upstreams.paces import CallTurn
from workers.upstreams.routes import NoneAvailable, Route, Routes
from workers.upstreams.states import NEVER_S, States

CALLS = 4_000
MODEL = a_model()
NOBODY: Any = None


class Windows(Unpaced):
    """What is known of each upstream's room."""

    def __init__(self, **limits: int) -> None:
        self._limits = limits

    def known(self, name: str) -> int:
        return self._limits.get(name.partition("/")[0], 1)

    async def throttled(self, *_: object, is_repeat: bool) -> bool:
        self.cooled_first = not is_repeat and self.cools_for(f"b/{MODEL.name}") > 0
        return not is_repeat

    def is_in_turn(self, name: str) -> bool:
        return name.partition("/")[0] in self.turns

    async def turn(self, names: dict[str, float], within_s: float, **_: int) -> CallTurn:
        """The earliest of those that each key has, and at once where it has none."""
        waits = [max(self.turns.get(name.partition("/")[0], 0.0), wait_s) for name, wait_s in names.items()]
        return CallTurn(waits.index(min(waits)), min(waits), taken=min(waits) <= within_s)

    turns: dict[str, float] = {}  # noqa: RUF012 - each test has its own
    cooled_first = False
    cools_for: Any = None


class Shared:
    """In the place of Redis: what others have told of upstreams, and what this worker tells."""

    def __init__(self) -> None:
        self.states: dict[str, UpstreamState] = {}
        self.cooling: dict[str, float] = {}
        self.told: list[UpstreamReport] = []

    def put(self, name: str, state: StateName, **more: Any) -> None:
        self.states[name] = UpstreamState(name=name, state=state, **more)

    async def exchange(self, told: list[UpstreamReport]) -> Known:
        self.told += [one for one in told if any(one[2:])]
        return Known({one.name: self.states.get(one.name, UpstreamState(name=one.name)) for one in told}, self.cooling)


def _row(name: str, **fields: Any) -> Upstream:
    return Upstream(name=name, provider="openai", **fields)


async def _routes(*rows: Upstream, held: str | None = None, shared: Shared | None = None, **limits: int) -> Routes:
    names = held.split() if held is not None else [row.name for row in rows]
    paces: Any = Windows(**limits)
    stand_in: Any = shared or Shared()
    states = States(names, stand_in)
    await states.exchange()
    return Routes(LoadedApis({name: {MODEL.api: NOBODY} for name in names}), Upstreams(rows), paces, states)


async def _chosen(routes: Routes, *tried: str) -> str | NoneAvailable | None:
    found = await routes.choose(MODEL, tried)
    return found.name if isinstance(found, Route) else found


async def _shares(routes: Routes) -> dict[object, float]:
    chosen = Counter([await _chosen(routes) for _ in range(CALLS)])
    return {name: count / CALLS for name, count in chosen.items()}


async def test_the_highest_priority_goes_first_and_the_next_only_when_it_was_tried() -> None:
    routes = await _routes(_row("a"), _row("b", priority=1))
    assert [await _chosen(routes), await _chosen(routes, "b"), await _chosen(routes, "a", "b")] == ["b", "a", None]


async def test_what_this_worker_lacks_is_not_chosen() -> None:
    assert [route.name for route in (await _routes(_row("a"), _row("b"), held="b")).of(MODEL)] == ["b"]


async def test_each_has_the_share_that_it_takes() -> None:
    shares = await _shares(await _routes(_row("a"), _row("b"), a=10, b=40))
    assert 0.16 < shares["a"] < 0.24


async def test_a_weight_counts_beside_it() -> None:
    shares = await _shares(await _routes(_row("a", weight=4), _row("b"), a=10, b=40))
    assert 0.46 < shares["a"] < 0.54


async def test_what_is_full_waits_for_what_is_not() -> None:
    routes = await _routes(_row("a"), _row("b"))
    (one, _) = routes.of(MODEL)
    with routes.call(one):
        assert await _shares(routes) == {"b": 1.0}
    assert set(await _shares(routes)) == {"a", "b"}


# what all workers know


@pytest.mark.parametrize("drained", [True, False])
async def test_what_is_open_or_drained_is_not_called(*, drained: bool) -> None:
    shared = Shared()
    shared.put("b", "closed" if drained else "open", wait_s=60)
    routes = await _routes(_row("a"), _row("b", priority=9), shared=shared)
    routes.states.drained = frozenset({"b"} if drained else ())
    assert await _shares(routes) == {"a": 1.0}


async def test_a_model_whose_vendor_wants_no_calls_of_it_there_is_called_elsewhere() -> None:
    shared = Shared()
    shared.cooling = {f"b/{MODEL.name}": 60.0, "a/another": 60.0}
    assert await _shares(await _routes(_row("a"), _row("b", priority=9), shared=shared)) == {"a": 1.0}


async def test_when_none_may_be_called_it_says_how_soon_one_may() -> None:
    shared = Shared()
    shared.put("a", "open", wait_s=60)
    routes = await _routes(_row("a"), _row("b"), shared=shared)
    routes.states.drained = frozenset({"b"})
    found = await routes.choose(MODEL)
    assert isinstance(found, NoneAvailable)
    assert 59 < found.wait_s <= 60
    assert not found.probed
    assert await routes.choose(MODEL, {"a"}) == NoneAvailable(NEVER_S, because=DRAINED)


async def test_one_that_recovers_is_tried_first_and_by_one_call_only() -> None:
    shared = Shared()
    shared.put("b", "half open", permitted=True, term=3)
    routes = await _routes(_row("a"), _row("b"), shared=shared)
    probe = await routes.choose(MODEL)
    assert isinstance(probe, Route)
    assert (probe.name, probe.permit == "") == ("b", False)
    shared.put("b", "half open", permitted=False, term=3)
    assert [await _chosen(routes) for _ in range(5)] == ["a"] * 5
    found = await routes.choose(MODEL, {"a"})
    assert isinstance(found, NoneAvailable)
    assert found.probed
    assert 0 < found.wait_s <= 0.25


async def test_its_first_byte_is_told_once_and_gives_the_permit_back() -> None:
    shared = Shared()
    shared.put("b", "half open", permitted=True, term=3)
    routes = await _routes(_row("b"), shared=shared)
    probe = await routes.choose(MODEL)
    assert isinstance(probe, Route)
    with routes.call(probe) as call:
        call.answered()
        call.answered()
        call.succeeded("stop")
    await routes.states.exchange()
    assert shared.told[-1] == UpstreamReport("b", 3, "s", released=probe.permit)


async def test_a_call_that_is_given_up_gives_its_permit_back_and_tells_nothing() -> None:
    shared = Shared()
    shared.put("b", "half open", permitted=True)
    routes = await _routes(_row("b"), shared=shared)
    probe = await routes.choose(MODEL)
    assert isinstance(probe, Route)
    with routes.call(probe):
        await routes.states.exchange()
        assert shared.told[-1].kept == probe.permit, "and keeps it while it runs"
    await routes.states.exchange()
    assert shared.told[-1] == UpstreamReport("b", released=probe.permit)


async def test_who_lacks_the_model_is_asked_for_it_last() -> None:
    routes = await _routes(_row("a"), _row("b", priority=9))
    (_, b) = routes.of(MODEL)
    with routes.call(b) as call:
        await call.failed(vendor_errors.retired())
    assert await _shares(routes) == {"a": 1.0}
    assert await _chosen(routes, "a") == "b"


async def test_a_time_that_the_vendor_named_holds_at_once_and_only_grows() -> None:
    shared = Shared()
    routes = await _routes(_row("a"), _row("b", priority=9), shared=shared)
    (_, b) = routes.of(MODEL)
    paces: Any = routes.paces
    paces.cools_for = routes.states.cools_for
    with routes.call(b) as call:
        await call.failed(vendor_errors.throttled(30))
    assert paces.cooled_first, "before anybody else is told"
    assert await _shares(routes) == {"a": 1.0}
    for told_s in (0.0, 1.0):  # what others have heard of is older, or of another call
        shared.cooling = {f"b/{MODEL.name}": told_s} if told_s else {}
        await routes.states.exchange()
        found = await routes.choose(MODEL, {"a"})
        assert isinstance(found, NoneAvailable)
        assert 29 < found.wait_s <= 30


async def test_the_repeat_of_a_call_that_is_throttled_keeps_no_others_away() -> None:
    routes = await _routes(_row("a"))
    with routes.call(routes.of(MODEL)[0]) as call:
        await call.failed(vendor_errors.throttled(30), is_repeat=True)
    assert await _chosen(routes) == "a"


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (vendor_errors.unreachable(), "f"),
        (vendor_errors.disconnected(), "f"),
        (vendor_errors.from_status(500), "f"),
        (vendor_errors.from_status(503), "f"),
        (vendor_errors.from_status(529), "f"),
        (vendor_errors.from_status(504), "f"),
        (vendor_errors.broke_off(), "f"),
        (vendor_errors.no_answer(), "f"),
        (ProviderTimeout("silent"), "f"),
        (vendor_errors.from_status(429), "n"),
        (vendor_errors.above_limit(), "n"),
        (vendor_errors.from_status(404), "n"),
        (vendor_errors.from_status(400), "n"),
        (InvalidRequest("x"), "n"),
        (vendor_errors.from_status(401), "c"),
        (vendor_errors.from_status(403), "c"),
        (vendor_errors.redirected(), "c"),
        (vendor_errors.from_status(403, prose="You don't have access to the model with the specified model ID."), "n"),
        (vendor_errors.from_status(402), "x"),
        (OutOfTime("the deadline"), None),
        (Cancelled("by its caller"), None),
    ],
    ids=repr,
)
def test_only_the_vendors_own_failures_count(error: RebootError, outcome: str | None) -> None:
    assert outcome_of(error) == outcome


async def test_a_model_of_another_worker_can_be_called_unless_all_its_upstreams_are_closed_drained_or_cooling() -> None:
    shared = Shared()
    routes = await _routes(_row("a"), _row("b"), held="", shared=shared)
    assert not await routes.is_any_available([])
    assert await routes.is_any_available([MODEL])
    shared.put("a", "open", wait_s=9)
    assert await routes.is_any_available([MODEL])
    shared.cooling = {f"b/{MODEL.name}": 3.0}
    assert not await routes.is_any_available([MODEL])
    shared.put("a", "rising")
    assert await routes.is_any_available([MODEL])
    routes.states.drained = frozenset({"a"})
    assert not await routes.is_any_available([MODEL])


@pytest.mark.parametrize(
    ("turns", "within_s", "chosen"),
    [
        ({"a": 0.5, "b": 0.2}, 1.0, "b"),
        ({"a": 0.5}, 1.0, "b"),  # which takes the call now
        ({"a": 5.0, "b": 2.0}, 1.0, 2.0),
        ({"a": 0.5, "b": 0.2}, 0.0, 0.2),
        ({"c": 0.5, "a": 2.0}, 1.0, "c"),  # which has another priority
        ({"c": 9.0}, 1.0, "a or b"),
    ],
)
async def test_where_vendors_throttle_the_earliest_turn_is_taken_unless_it_comes_too_late(
    turns: dict[str, float], within_s: float, chosen: str | float
) -> None:
    rows = [_row("a"), _row("b")] + [_row("c", priority=1)] * ("c" in turns)
    routes = await _routes(*rows)
    paces: Any = routes.paces
    paces.turns = turns
    for _ in range(20):
        found = await routes.choose(MODEL, turn_within_s=within_s)
        if isinstance(found, Route):
            assert found.name in str(chosen)
            assert found.turn.in_s == (turns.get(found.name, 0.0) if found.name in turns else 0.0)
        else:
            assert isinstance(found, NoneAvailable)
            assert (found.wait_s, found.in_turn) == (chosen, True)


async def test_a_call_that_has_its_turn_begins_unless_its_upstream_is_closed_or_drained_by_then() -> None:
    shared = Shared()
    routes = await _routes(_row("a"), shared=shared)
    paces: Any = routes.paces
    paces.turns = {"a": 0.0}
    (route,) = routes.of(MODEL)
    assert await routes.may_begin(route)
    routes.states.drained = frozenset({"a"})
    assert not await routes.may_begin(route)
    routes.states.drained = frozenset()
    shared.put("a", "open", wait_s=60)
    await routes.states.exchange()
    assert not await routes.may_begin(route)
