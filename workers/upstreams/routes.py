"""Chooses the upstream of a call: among those that may be called, the highest priority, then by the room that each has
left.
"""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from decimal import Decimal
from typing import TYPE_CHECKING, NamedTuple

from shared.catalogue.upstreams import pace_name
from shared.queue.upstreams import FAILS
from workers.providers.loading import LoadedApis
from workers.providers.protocol import Provider
from workers.upstreams.calls import Call
from workers.upstreams.paces import NO_TURNS, CallTurn, Paces
from workers.upstreams.states import ASK_AGAIN_S, States

if TYPE_CHECKING:
    from shared.catalogue.models import Model
    from shared.catalogue.upstreams import Upstream, Upstreams

ABSENT_S = 60.0
"""Seconds for which an upstream that lacks a model comes last for that model."""


class Route(NamedTuple):
    """One way to call a model; `model` has the id and the address of that upstream. `permit` is what a recovering
    upstream requires. If its vendor throttles, the call has its `turn`.
    """

    upstream: Upstream
    provider: Provider
    model: Model
    pace_name: str
    permit: str = ""
    turn: CallTurn = NO_TURNS

    @property
    def name(self) -> str:
        """The upstream's name."""
        return self.upstream.name

    @property
    def priority(self) -> int:
        """The upstream's priority."""
        return self.upstream.priority


class NoneAvailable(NamedTuple):
    """The answer if no upstream of the model takes a call now; one may in `wait_s` seconds, which may be infinite.
    `serves` is true if one of them works and has all the calls that it takes now, `probed` if another request tries one
    of them now, `in_turn` if one of them takes one call after the other, because its vendor throttles. `because` says
    why none takes a call.
    """

    wait_s: float
    serves: bool = False
    in_turn: bool = False
    because: str = FAILS
    probed: bool = False


class Routes:
    """The routes of one worker process."""

    def __init__(self, held: LoadedApis, upstreams: Upstreams, paces: Paces, states: States) -> None:
        self._held = held
        self._upstreams = upstreams
        self.paces = paces
        self.states = states
        self.under_way: Counter[str] = Counter()
        self._absent: dict[str, float] = {}
        self.waiters = 0

    def of(self, model: Model) -> list[Route]:
        """All ways to call `model`; empty if this worker does not have the keys."""
        return [
            Route(
                upstream,
                apis[model.api],
                upstream.called(model),
                pace_name(upstream.name, model.name, model.service_tier),
            )
            for upstream in self._upstreams.of(model)
            if model.api in (apis := self._held.get(upstream.name, {}))
        ]

    async def choose(
        self, model: Model, called: Collection[str] = (), *, turn_within_s: float = 0.0
    ) -> Route | NoneAvailable | None:
        """The way for the next call, by an upstream that was not `called` yet; None if there is no other at all. A turn that
        comes within `turn_within_s` is taken, and the caller has to wait for it.
        """
        left = [route for route in self.of(model) if route.name not in called]
        if not left:
            return None
        waits = {route.name: self._waits_s(route, turn_within_s) for route in left}
        ready = [route for route in left if not waits[route.name]]
        while ready:
            taken = await self._take_best(ready, turn_within_s)
            if isinstance(taken, Route):
                return taken
            waits |= taken
            ready = [route for route in ready if route.name not in taken]
        return NoneAvailable(
            min(waits.values()),
            serves=any(self.states.state(route.name) == "rising" for route in left),
            in_turn=any(self.paces.is_in_turn(route.pace_name) for route in left),
            because=self.states.why_none_is_available([route.name for route in left]),
            probed=any(
                self.states.state(route.name) == "half open" and waits[route.name] <= ASK_AGAIN_S for route in left
            ),
        )

    async def _take_best(self, ready: Sequence[Route], turn_within_s: float) -> Route | dict[str, float]:
        """The best route if it takes the call now. Otherwise the seconds to wait for each upstream that was asked in
        vain.
        """
        route = ready[0] if len(ready) == 1 else self._best(ready)
        if self.states.state(route.name) != "closed":
            permit = await self.states.take(route.name)
            return {route.name: ASK_AGAIN_S} if permit is None else route._replace(permit=permit)
        if not self.paces.is_in_turn(route.pace_name):
            return route
        line = [route, *(one for one in ready if one != route and self._is_beside(one, route))]
        turn = await self._turn(line, turn_within_s)
        return line[turn.place]._replace(turn=turn) if turn.taken else {one.name: turn.in_s for one in line}

    async def may_begin(self, route: Route) -> bool:
        """True if a call that has waited for its turn has it now."""
        if not self._takes_turns(route) or self.states.unavailable_for_s(route.name):
            return False
        return (await self.paces.turn({route.pace_name: 0.0}, 0.0, round=route.turn.round)).taken

    async def _turn(self, line: Sequence[Route], within_s: float) -> CallTurn:
        return await self.paces.turn({one.pace_name: self.states.cools_for(one.pace_name) for one in line}, within_s)

    async def is_any_available(self, models: Sequence[Model]) -> bool:
        """True if one of `models`, which other workers may serve, has an upstream that takes calls now."""
        places = {
            pace_name(one.name, model.name, model.service_tier): one.name
            for model in models
            for one in self._upstreams.of(model)
        }
        return await self.states.is_any_available(places)

    def cost_factor(self, model: Model, name: str | None) -> Decimal:
        """The cost factor of the upstream that another worker called; 1 if it is unknown here."""
        found = [one.cost_factor for one in self._upstreams.of(model) if one.name == name]
        return found[0] if found else Decimal(1)

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """A request waits for an upstream during the block."""
        self.waiters += 1
        try:
            yield
        finally:
            self.waiters -= 1

    def call(self, route: Route) -> Call:
        """The context of a call by this route."""
        return Call(self, route)

    def leave_aside(self, route: Route) -> None:
        """Put the upstream last for the model, because the model is missing there."""
        self._absent[route.pace_name] = time.monotonic() + ABSENT_S

    def _is_beside(self, one: Route, other: Route) -> bool:
        """True if the route is as good as the other one. If another route takes the call now, nobody waits for a turn."""
        return one.priority == other.priority and self.states.state(one.name) == "closed"

    def is_in_turn(self, model: Model) -> bool:
        """True if calls of `model` go one after the other at one of its upstreams, because its vendor throttles."""
        return any(self.paces.is_in_turn(route.pace_name) for route in self.of(model))

    def _takes_turns(self, route: Route) -> bool:
        """True if the upstream works and only throttles."""
        return self.states.state(route.name) == "closed" and self.paces.is_in_turn(route.pace_name)

    def _waits_s(self, route: Route, turn_within_s: float) -> float:
        """Seconds for which the call waits. If calls take turns, the call waits for its turn instead of the time that
        the vendor named, unless the turn is far off.
        """
        cools_s = self.states.cools_for(route.pace_name)
        if cools_s <= turn_within_s and self._takes_turns(route):
            cools_s = 0.0
        return max(self.states.unavailable_for_s(route.name), cools_s)

    def _best(self, routes: Sequence[Route]) -> Route:
        """The best route. A recovering upstream comes before others of its priority, because it takes only single calls."""
        there = [route for route in routes if self._absent.get(route.pace_name, 0.0) <= time.monotonic()] or routes
        highest = max(route.upstream.priority for route in there)
        first = [route for route in there if route.upstream.priority == highest]
        recovering = [route for route in first if self.states.state(route.name) == "half open"]
        return recovering[0] if recovering else self._by_room(first)

    def _by_room(self, routes: Sequence[Route]) -> Route:
        """A random route, weighted by the room that each route has left."""
        limits = [self.paces.known(route.pace_name) for route in routes]
        rooms = [max(0, limit - self.under_way[route.pace_name]) for limit, route in zip(limits, routes, strict=True)]
        shares = rooms if any(rooms) else limits
        weights = [share * route.upstream.weight for share, route in zip(shares, routes, strict=True)]
        return random.choices(routes, weights)[0]  # noqa: S311 - spreads load, guards nothing
