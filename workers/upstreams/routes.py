"""Chooses the upstream of a call: of those that this worker holds the highest priority, then by what each still takes."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from decimal import Decimal
from typing import TYPE_CHECKING, NamedTuple

from shared.catalogue.upstreams import pace_name
from workers.providers.loading import Held
from workers.providers.protocol import Provider
from workers.upstreams.paces import Paces

if TYPE_CHECKING:
    from shared.catalogue.models import Model
    from shared.catalogue.upstreams import Upstream, Upstreams


class Route(NamedTuple):
    """One way to call a model, which is as it is asked for there."""

    upstream: Upstream
    provider: Provider
    model: Model
    pace_name: str

    @property
    def name(self) -> str:
        """The upstream's."""
        return self.upstream.name


class Routes:
    """Of one worker process."""

    def __init__(self, held: Held, upstreams: Upstreams, paces: Paces) -> None:
        self._held = held
        self._upstreams = upstreams
        self._paces = paces
        self._under_way: Counter[str] = Counter()

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

    def choose(self, model: Model, tried: Collection[str] = ()) -> Route | None:
        """The way for the next call, none by an upstream that was `tried`."""
        left = [route for route in self.of(model) if route.name not in tried]
        if len(left) < 2:  # noqa: PLR2004 - nothing to choose
            return left[0] if left else None
        highest = max(route.upstream.priority for route in left)
        return self._by_room([route for route in left if route.upstream.priority == highest])

    def cost_factor(self, model: Model, name: str | None) -> Decimal:
        """Of the upstream that another worker called; 1 where it is not known here."""
        found = [one.cost_factor for one in self._upstreams.of(model) if one.name == name]
        return found[0] if found else Decimal(1)

    def succeeded(self, route: Route) -> None:
        """The vendor answered."""
        self._paces.succeeded(route.pace_name)

    async def throttled(self, route: Route, retry_after_s: float) -> None:
        """The vendor refused a call because there are too many."""
        await self._paces.throttled(route.pace_name, retry_after_s)

    async def used_up(self, route: Route, reset_s: float) -> None:
        """The vendor says that it takes no more for so long."""
        await self._paces.used_up(route.pace_name, reset_s)

    @contextmanager
    def under_way(self, route: Route) -> Iterator[None]:
        """A call goes there while the block runs."""
        self._under_way[route.pace_name] += 1
        try:
            yield
        finally:
            self._under_way[route.pace_name] -= 1

    def _by_room(self, routes: Sequence[Route]) -> Route:
        """At random, so that each has the share of the calls that it has of what all of them still take."""
        limits = [self._paces.known(route.pace_name) for route in routes]
        rooms = [max(0, limit - self._under_way[route.pace_name]) for limit, route in zip(limits, routes, strict=True)]
        shares = rooms if any(rooms) else limits
        weights = [share * route.upstream.weight for share, route in zip(shares, routes, strict=True)]
        return random.choices(routes, weights)[0]  # noqa: S311 - spreads load, guards nothing
