"""Decides the next call of a request: at another upstream at once, at the same one after a pause, at one that opens
later, or no call.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, NoReturn

import structlog
from arq.worker import Retry

from shared import clock
from shared.errors import (
    Cancelled,
    Expired,
    ModelRetired,
    ProviderBusy,
    ProviderError,
    ProviderNotConfigured,
    ProviderTimeout,
    RebootError,
    Unavailable,
)
from shared.queue.known import cancelled_among
from shared.queue.upstreams import FAILS, none_is_available
from workers.request.past import note_calls
from workers.request.retry import Retries, is_flex
from workers.upstreams.routes import NoneAvailable, Route

if TYPE_CHECKING:
    import redis.asyncio

    from shared.job import Job
    from shared.settings import Settings
    from workers.request.billing import Received
    from workers.upstreams.routes import Routes

log = structlog.get_logger(__name__)
PASSES_ELSEWHERE = (ProviderError, ProviderBusy, ProviderTimeout, ModelRetired)
"""Errors that another upstream may not return for the same request."""
LOOKS_AGAIN_S = 30.0
"""Seconds between two looks of a waiting request whether an upstream has opened earlier."""
SPREAD_MAX_S = 1.0
NO_CAPACITY = (
    "The vendor had no capacity at the tier flex until the request's deadline: try again later, or without it."
)


async def nobody_is_next() -> bool:
    """The `next_is_well` of a request without a chain: false, because there is no next model."""
    return False


class NextCall:
    """The next calls of one attempt. Every method may raise arq's `Retry`, to wait in the queue instead of in a slot,
    or `Cancelled`. `next_is_well` says whether the next model of the chain can be called now.
    """

    def __init__(
        self,
        job: Job,
        routes: Routes,
        client: redis.asyncio.Redis,
        settings: Settings,
        received: Received,
        next_is_well: Callable[[], Awaitable[bool]],
    ) -> None:
        self._job = job
        self._routes = routes
        self._client = client
        self._settings = settings
        self._received = received
        self._retries = Retries(job, received, settings)
        self._failed_upstreams: set[str] = set()
        """Upstreams that have failed in the present round."""
        self._next_is_well = next_is_well

    async def first(self) -> Route:
        """The upstream of the first call. Raises `ProviderNotConfigured`, and if none opens soon `ProviderBusy` or
        `OperatorCredentials`.
        """
        while True:
            match await self._routes.choose(self._job.model, turn_within_s=await self._turn_within_s()):
                case Route() as route:
                    self._received.waits_since_ms = 0
                    if not route.turn.in_s or await self._await_turn(route):
                        return route
                case NoneAvailable() as unavailable:
                    await self._wait_for_opening(unavailable)
                case None:
                    model = self._job.model
                    wanted = model.key_variable or "its vendor's key"
                    raise ProviderNotConfigured(f"{model.name} is not set up: the operator has to set {wanted}.")

    async def after(self, route: Route, error: RebootError, *, begun: bool = False) -> Route:
        """The upstream of the next call after that failure. Raises `error` if there is none. An answer that had `begun` is
        asked for again at another upstream only, and only if its caller has seen nothing of it.
        """
        found = await self._elsewhere(route, error)
        if isinstance(found, Route):
            self._received.rerouted += 1
            log.info("vendor call failed, another upstream is called", code=error.code, upstream=route.name)
            return found
        self._failed_upstreams.clear()
        if begun:
            raise error
        waits_for_another = isinstance(found, NoneAvailable) and not error.retryable and self._retries.may_call_again()
        if not waits_for_another:
            await self._wait_or_give_up(error)
        await self.ask_whether_it_is_wanted(error)
        return await self.first()

    def is_repeat(self) -> bool:
        """True if the present call is one more than there are upstreams of the model, so that the request has called them
        before.
        """
        return self._received.calls - self._job.calls_before > len(self._routes.of(self._job.model))

    async def _elsewhere(self, route: Route, error: RebootError) -> Route | NoneAvailable | None:
        """Another upstream, which is called at once, under the same claim and hold. It must be before the caller's first
        byte, because another call writes another answer.
        """
        if self._received.text_bytes or not isinstance(error, PASSES_ELSEWHERE) or self._job.left_s() <= 0:
            return None
        self._failed_upstreams.add(route.name)
        if all(other.name in self._failed_upstreams for other in self._routes.of(self._job.model)):
            return None
        await self.ask_whether_it_is_wanted(error)
        return await self._routes.choose(self._job.model, self._failed_upstreams)

    async def _wait_for_opening(self, unavailable: NoneAvailable) -> None:
        """Wait in the queue, without a slot, unless the wait is short. If an upstream recovers and takes more and more
        calls at once, the request waits until it may call. If an upstream throttles, it waits `UPSTREAM_THROTTLED_S`.
        While another request tries an upstream it waits twice `UPSTREAM_WAIT_S`, because the upstream may open at any
        moment.
        """
        self._note_wait(unavailable)
        wait_s, patience_s = unavailable.wait_s, self._patience_s(unavailable)
        known = wait_s if wait_s < self._settings.deadline_max_s else None
        error = none_is_available(self._job.model.name, unavailable.because, known)
        delay_s = self._spread(min(wait_s, LOOKS_AGAIN_S))
        if not self._retries.is_patient:
            if wait_s > patience_s or patience_s <= 0 or await self._prefers_next_model():
                raise error
            delay_s = min(delay_s, patience_s)
        if delay_s >= self._job.left_s():
            raise Expired(NO_CAPACITY) if is_flex(self._job) else error
        if delay_s > self._settings.retry_in_place_s:
            await self._defer(delay_s, error)
        with self._routes.waiting():
            await asyncio.sleep(delay_s)
        await self.ask_whether_it_is_wanted(error)

    def _note_wait(self, unavailable: NoneAvailable) -> None:
        """Note since when no upstream was open for the request. The time begins anew while one recovers or throttles."""
        has_turn = unavailable.in_turn and self._retries.age_s <= self._settings.upstream_throttled_s
        if unavailable.serves or has_turn or not self._received.waits_since_ms:
            self._received.waits_since_ms = clock.now_ms()

    def _patience_s(self, unavailable: NoneAvailable) -> float:
        """Seconds for which the request still waits for an upstream."""
        waited_s = (clock.now_ms() - self._received.waits_since_ms) / 1000
        return self._settings.upstream_wait_s * (1 + unavailable.probed) - waited_s

    async def _await_turn(self, route: Route) -> bool:
        """Wait for the call's turn. False if the upstream takes no call when the turn comes: then the request takes
        another turn.
        """
        await asyncio.sleep(route.turn.in_s)
        await self.ask_whether_it_is_wanted(none_is_available(self._job.model.name, FAILS, route.turn.in_s))
        return await self._routes.may_begin(route)

    async def _turn_within_s(self) -> float:
        """Seconds for which the call may wait for its turn. A request that prefers the next model, or that is older than
        `UPSTREAM_THROTTLED_S`, takes only a turn that has come already. If it took a later turn and left it unused, all
        other turns would be delayed, and the model might never be called again.
        """
        if not self._routes.is_in_turn(self._job.model):
            return self._settings.retry_in_place_s
        if self._retries.is_throttled_for_good or await self._prefers_next_model():
            return 0.0
        return min(self._settings.retry_in_place_s, max(0.0, self._job.left_s()))

    async def _prefers_next_model(self) -> bool:
        """True if the next model of the chain is asked instead of waiting for this one."""
        return bool(self._job.fallbacks) and await self._next_is_well()

    def _spread(self, wait_s: float) -> float:
        """A random part of the wait, so that waiting requests do not all call at the same moment."""
        together_s = min(SPREAD_MAX_S, wait_s * self._routes.waiters)
        return wait_s * random.uniform(1, 1.1) + random.uniform(0, together_s)  # noqa: S311 - spreads load

    async def _wait_or_give_up(self, error: RebootError) -> None:
        delay_s = self._retries.delay_after(error, is_repeat=self.is_repeat())
        if delay_s is None and is_flex(self._job) and isinstance(error, ProviderBusy):
            raise Expired(NO_CAPACITY) from error
        if delay_s is None:
            raise self._with_replacement(error)
        log.info(
            "vendor call failed, to be repeated",
            code=error.code,
            delay_s=round(delay_s, 3),
            calls=self._received.calls,
        )
        if delay_s > self._settings.retry_in_place_s:
            if await self._prefers_next_model():
                raise error
            await self._defer(delay_s, error)
        await asyncio.sleep(delay_s)

    def _with_replacement(self, error: RebootError) -> RebootError:
        """The error, which names the replacement if the model is gone."""
        model = self._job.model
        if not isinstance(error, ModelRetired) or model.replaced_by is None:
            return error
        return ModelRetired(
            f"The vendor says that {model.name} is gone: ask for {model.replaced_by}, which replaces it, or choose another,"
            " see GET /api/models."
        )

    async def _defer(self, delay_s: float, error: RebootError) -> NoReturn:
        """Return the job to the queue for `delay_s`, and record the calls so far for the next attempt."""
        try:
            await note_calls(self._client, self._job.id, self._received)
        except Unavailable:
            raise error from None
        raise Retry(defer=delay_s) from error

    async def ask_whether_it_is_wanted(self, error: RebootError) -> None:
        """Raise `Cancelled` if somebody has asked to cancel. The worker notices such a wish only every `IDLE_WAIT_S`,
        and not at all while a vendor bills to the end; a call after the wish would have to be paid.
        """
        try:
            is_cancelled = await cancelled_among(self._client, [self._job.id])
        except Unavailable:
            raise error from None
        if is_cancelled:
            raise Cancelled("The request was cancelled.")
