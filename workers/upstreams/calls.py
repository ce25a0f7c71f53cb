"""One call to an upstream, from its start to its outcome."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Self

from shared.errors import ModelRetired, ProviderBusy, RebootError
from shared.queue.upstreams import Outcome
from shared.runtime.metrics import UPSTREAM_CALLS
from workers.providers.wire.vendor_errors import NotHere, Throttled
from workers.upstreams.outcomes import outcome_of

if TYPE_CHECKING:
    from types import TracebackType

    from workers.upstreams.routes import Route, Routes


class Call:
    """The context of one call; its outcome is reported to all workers."""

    def __init__(self, routes: Routes, route: Route) -> None:
        self._routes = routes
        self.route = route
        self._term = routes.states.term(route.name)
        self._answered = False
        self._began_at = 0.0

    def __enter__(self) -> Self:
        self._routes.under_way[self.route.pace_name] += 1
        self._began_at = time.monotonic()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._routes.under_way[self.route.pace_name] -= 1
        self._release()

    @property
    def is_probe(self) -> bool:
        """True if this call tries a recovering upstream."""
        return bool(self.route.permit) and not self._answered

    def answered(self) -> None:
        """Note that the first byte has arrived: the next call may now try a recovering upstream."""
        if self.is_probe:
            self._answered = True
            self._routes.states.told(self.route.name, self._term, Outcome.ANSWERED)
            self._release()

    def succeeded(self, reason: str) -> None:
        """Note that the vendor's answer is complete."""
        self._routes.paces.succeeded(self.route.pace_name, self._took_s())
        if not self._answered:
            self._routes.states.told(self.route.name, self._term, Outcome.ANSWERED)
        UPSTREAM_CALLS.labels(self.route.name, reason).inc()

    async def used_up(self, reset_s: float, next_s: float) -> None:
        """Note that the vendor's limit is used up: batches wait `reset_s` until it is full again, other requests
        `next_s` until the vendor takes one more.
        """
        self._routes.states.cool(self.route.pace_name, next_s)
        await self._routes.paces.used_up(self.route.pace_name, reset_s, next_s)

    async def failed(self, error: RebootError, *, is_repeat: bool = False) -> None:
        """Note that the call failed. A waiting time that the vendor named applies to all calls of the model at this
        upstream, and in this process at once, before other workers learn of it. If the vendor throttles the repeat of a
        call while it answers others, only its request waits (`pace.lua`).
        """
        UPSTREAM_CALLS.labels(self.route.name, error.code).inc()
        outcome = outcome_of(error)
        if outcome is not None:
            self._routes.states.told(self.route.name, self._term, outcome)
        self._release()
        if isinstance(error, ModelRetired | NotHere):
            self._routes.leave_aside(self.route)
        cool_s, pace = error.asked_wait_s or 0.0, self.route.pace_name
        is_repeat = is_repeat and isinstance(error, Throttled)
        if cool_s and outcome in {Outcome.FAILED, Outcome.REFUSED} and not is_repeat:
            self._routes.states.cool(pace, cool_s)
        if isinstance(error, ProviderBusy):
            took_s = self._took_s() if isinstance(error, Throttled) else None
            waits = error.retry_after_s or 0, cool_s, took_s
            if await self._routes.paces.throttled(pace, *waits, is_repeat=is_repeat) and cool_s and is_repeat:
                self._routes.states.cool(pace, cool_s)
        elif cool_s:
            await self._routes.paces.used_up(pace, cool_s, cool_s)

    def _took_s(self) -> float:
        return time.monotonic() - self._began_at

    def _release(self) -> None:
        if self.route.permit:
            self._routes.states.release(self.route.name, self.route.permit)
