"""Chooses the upstream of a call: of those that may be called the highest priority, then by what each still takes."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from decimal import Decimal
from typing import TYPE_CHECKING, NamedTuple, Self

from shared.catalogue.upstreams import pace_name
from shared.errors import ModelRetired, ProviderBusy, RebootError
from shared.queue.upstreams import FAILS
from shared.runtime.metrics import UPSTREAM_CALLS
from workers.providers.loading import Held
from workers.providers.protocol import Provider
from workers.providers.wire.vendor_errors import NotHere
from workers.upstreams.outcomes import outcome_of
from workers.upstreams.paces import Paces
from workers.upstreams.states import ASK_AGAIN_S, States

if TYPE_CHECKING:
    from types import TracebackType

    from shared.catalogue.models import Model
    from shared.catalogue.upstreams import Upstream, Upstreams

ABSENT_S = 60.0
"""For so long an upstream that lacks a model is asked for it last."""


class Route(NamedTuple):
    """One way to call a model, which is as it is asked for there. `permit` is what one that recovers wants."""

    upstream: Upstream
    provider: Provider
    model: Model
    pace_name: str
    permit: str = ""

    @property
    def name(self) -> str:
        """The upstream's."""
        return self.upstream.name


class Closed(NamedTuple):
    """No way is open now; one may be in `wait_s` seconds, which may be infinite. `serves`: one of them does serve, and has as
    many calls as it takes for now. `because` says why none is open.
    """

    wait_s: float
    serves: bool = False
    because: str = FAILS


class Routes:
    """Of one worker process."""

    def __init__(self, held: Held, upstreams: Upstreams, paces: Paces, states: States) -> None:
        self._held = held
        self._upstreams = upstreams
        self.paces = paces
        self.states = states
        self.under_way: Counter[str] = Counter()
        self._absent: dict[str, float] = {}
        self.waiters = 0

    def of(self, model: Model) -> list[Route]:
        """All ways to call `model`; empty when this worker lacks the keys."""
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

    async def choose(self, model: Model, tried: Collection[str] = ()) -> Route | Closed | None:
        """The way for the next call, none by an upstream that was `tried`; None where there is no other at all."""
        left = [route for route in self.of(model) if route.name not in tried]
        if not left:
            return None
        ready = [route for route in left if not self._waits_s(route)]
        while ready:
            route = ready[0] if len(ready) == 1 else self._best(ready)
            if self.states.state(route.name) == "closed":
                return route
            permit = await self.states.take(route.name)
            if permit is not None:
                return route._replace(permit=permit)
            ready.remove(route)
        return Closed(
            min(self._waits_s(route) or ASK_AGAIN_S for route in left),
            serves=any(self.states.state(route.name) == "rising" for route in left),
            because=self.states.why_none_is_open([route.name for route in left]),
        )

    async def is_any_open(self, models: Sequence[Model]) -> bool:
        """Whether one of `models`, which other workers may serve, has an upstream that takes calls now."""
        places = {
            pace_name(one.name, model.name, model.service_tier): one.name
            for model in models
            for one in self._upstreams.of(model)
        }
        return await self.states.is_any_open(places)

    def cost_factor(self, model: Model, name: str | None) -> Decimal:
        """Of the upstream that another worker called; 1 where it is not known here."""
        found = [one.cost_factor for one in self._upstreams.of(model) if one.name == name]
        return found[0] if found else Decimal(1)

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """A request waits for an upstream while the block runs."""
        self.waiters += 1
        try:
            yield
        finally:
            self.waiters -= 1

    def call(self, route: Route) -> Call:
        """The context of a call there."""
        return Call(self, route)

    def leave_aside(self, route: Route) -> None:
        """The model is not there."""
        self._absent[route.pace_name] = time.monotonic() + ABSENT_S

    def _waits_s(self, route: Route) -> float:
        return max(self.states.closed_for(route.name), self.states.cools_for(route.pace_name))

    def _best(self, routes: Sequence[Route]) -> Route:
        """One that recovers goes before others of its priority: it is tried by one call, and by no more than it takes."""
        there = [route for route in routes if self._absent.get(route.pace_name, 0.0) <= time.monotonic()] or routes
        highest = max(route.upstream.priority for route in there)
        first = [route for route in there if route.upstream.priority == highest]
        recovering = [route for route in first if self.states.state(route.name) == "half open"]
        return recovering[0] if recovering else self._by_room(first)

    def _by_room(self, routes: Sequence[Route]) -> Route:
        """At random, so that each has the share of the calls that it has of what all of them still take."""
        limits = [self.paces.known(route.pace_name) for route in routes]
        rooms = [max(0, limit - self.under_way[route.pace_name]) for limit, route in zip(limits, routes, strict=True)]
        shares = rooms if any(rooms) else limits
        weights = [share * route.upstream.weight for share, route in zip(shares, routes, strict=True)]
        return random.choices(routes, weights)[0]  # noqa: S311 - spreads load, guards nothing


class Call:
    """One call while it is under way; what became of it is told to all workers."""

    def __init__(self, routes: Routes, route: Route) -> None:
        self._routes = routes
        self.route = route
        self._term = routes.states.term(route.name)
        self._answered = False

    def __enter__(self) -> Self:
        self._routes.under_way[self.route.pace_name] += 1
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._routes.under_way[self.route.pace_name] -= 1
        self._release()

    @property
    def is_tried(self) -> bool:
        """Whether the upstream recovers, so that this call shows whether it has."""
        return bool(self.route.permit) and not self._answered

    def answered(self) -> None:
        """The first byte has come: another call may try an upstream that recovers."""
        if self.is_tried:
            self._answered = True
            self._routes.states.told(self.route.name, self._term, "s")
            self._release()

    def succeeded(self, reason: str) -> None:
        """The vendor answered to the end."""
        self._routes.paces.succeeded(self.route.pace_name)
        if not self._answered:
            self._routes.states.told(self.route.name, self._term, "s")
        UPSTREAM_CALLS.labels(self.route.name, reason).inc()

    async def used_up(self, reset_s: float, next_s: float) -> None:
        """The vendor says that its limit is used up: batches wait until it is as it was, others until it takes one more."""
        await self._routes.paces.used_up(self.route.pace_name, reset_s, next_s)
        self._routes.states.cool(self.route.pace_name, next_s)

    async def failed(self, error: RebootError) -> None:
        """A time that the vendor named holds for all calls of the model there."""
        UPSTREAM_CALLS.labels(self.route.name, error.code).inc()
        outcome = outcome_of(error)
        if outcome is not None:
            self._routes.states.told(self.route.name, self._term, outcome)
        self._release()
        if isinstance(error, ModelRetired | NotHere):
            self._routes.leave_aside(self.route)
        cool_s = error.asked_wait_s or 0.0
        if isinstance(error, ProviderBusy):
            await self._routes.paces.throttled(self.route.pace_name, error.retry_after_s or 0, cool_s)
        elif cool_s:
            await self._routes.paces.used_up(self.route.pace_name, cool_s, cool_s)
        if cool_s and outcome in {"f", "n"}:
            self._routes.states.cool(self.route.pace_name, cool_s)

    def _release(self) -> None:
        if self.route.permit:
            self._routes.states.release(self.route.name, self.route.permit)
