"""Calls the vendor for one request, again where the policy allows it, and hands on the text as it comes."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import TYPE_CHECKING, NoReturn

import structlog
from arq.constants import abort_jobs_ss
from arq.worker import Retry

from shared.chat import CallPiece
from shared.errors import (
    AnswerTooLong,
    Cancelled,
    Expired,
    ModelRetired,
    ProviderBusy,
    ProviderError,
    ProviderNotConfigured,
    ProviderTimeout,
    RebootError,
)
from shared.job import AnswerPart, Chunk, bytes_of
from shared.runtime.metrics import STAGE_SECONDS, VENDOR_CALLS
from shared.stores.redis_client import UNREACHABLE
from shared.thoughts import ThoughtPiece
from workers.providers.protocol import (
    Finished,
    Joined,
    Piece,
    ProviderRequest,
    Reported,
    ServedAt,
    Thinking,
    UsedUp,
)
from workers.providers.wire.callers_faults import ThoughtsRefused
from workers.providers.wire.fitting import Fitted
from workers.providers.wire.instructions import fit
from workers.providers.wire.receiving import receiving
from workers.providers.wire.sending import sending
from workers.providers.wire.thoughts import without_thoughts
from workers.request.billing import lose
from workers.request.cache_keys import with_own_key
from workers.request.limits import bounded
from workers.request.past import note_calls
from workers.request.retry import delay_before_retry

if TYPE_CHECKING:
    import redis.asyncio

    from shared.catalogue.models import Model
    from shared.job import Job
    from shared.runtime.growing_room import Growth
    from shared.settings import Settings
    from workers.request.billing import Received
    from workers.upstreams.routes import Route, Routes

log = structlog.get_logger(__name__)
BYTES_PER_TOKEN_MAX, SLACK_BYTES = 256, 65_536
"""More than this per token of the output limit is a vendor that does not stop. The longest tokens of vocabularies that are
published have 128 bytes (tiktoken's o200k_base and cl100k_base, read 2026-11).
"""
BYTES_PER_PART = 64
"""What a part of an answer takes besides its text, at least, here and in the journal."""
PASSES_ELSEWHERE = (ProviderError, ProviderBusy, ProviderTimeout, ModelRetired)
"""What another upstream may not say of the same request."""


class VendorCalls:
    """The calls of one attempt. `received` is kept up to date at every step, so that whatever ends the attempt can be
    charged; `take` gets each part of the answer, for which `room` has to have room; `stands` hears whether a vendor has the
    call now.
    """

    def __init__(
        self,
        job: Job,
        routes: Routes,
        client: redis.asyncio.Redis,
        settings: Settings,
        received: Received,
        take: Callable[[AnswerPart], Awaitable[None]],
        stands: Callable[[bool], None],
        room: Growth,
    ) -> None:
        self._job = job
        self._tier = job.model.service_tier
        self._routes = routes
        self._tried: set[str] = set()
        """Upstreams that failed since the last wait."""
        self._client = client
        self._settings = settings
        self._received = received
        self._take = take
        self._stands = stands
        self._room = room
        self._leaves_thoughts_out = False
        self._handed_on_bytes = 0
        """Of all parts, with the ids of tool calls, which are no text."""

    async def until_one_works(self) -> str:
        """The finish reason of the call that worked. Raises the last call's `RebootError`, `Cancelled` when the caller
        cancelled before the next one, or arq's `Retry` to wait in the queue instead of in a slot.
        """
        while True:
            route = self._route()
            self._received.attempts += 1
            self._received.upstream, self._received.cost_factor = route.name, route.upstream.cost_factor
            try:
                reason = await self._call(route)
            except RebootError as error:
                self._forget_failed(error)
                VENDOR_CALLS.labels(self._job.model.api, error.code).inc()
                if self._goes_on_without_thoughts(error):
                    await self._ask_whether_it_is_wanted(error)
                    continue
                if isinstance(error, ProviderBusy):
                    self._received.refused += self._tier == "flex"
                    await self._routes.throttled(route, error.retry_after_s or 0)
                if not self._goes_elsewhere(route, error):
                    await self._wait_or_give_up(error)
                await self._ask_whether_it_is_wanted(error)
            else:
                VENDOR_CALLS.labels(self._job.model.api, reason).inc()
                self._routes.succeeded(route)
                return reason

    def _route(self) -> Route:
        model = self._job.model
        route = self._routes.choose(model, self._tried)
        if route is None:
            wanted = model.key_variable or "its vendor's key"
            raise ProviderNotConfigured(f"{model.name} is not set up: the operator has to set {wanted}.")
        return route

    def _goes_elsewhere(self, route: Route, error: RebootError) -> bool:
        """Before the first byte another upstream is called at once, under the same claim and hold; not after it, because
        another call writes another answer.
        """
        if self._received.text_bytes or not isinstance(error, PASSES_ELSEWHERE) or self._job.left_s() <= 0:
            return False
        self._tried.add(route.name)
        goes = self._routes.choose(self._job.model, self._tried) is not None
        if goes:
            self._received.moved += 1
            log.info("vendor call failed, another upstream is called", code=error.code, upstream=route.name)
        else:
            self._tried.clear()
        return goes

    def _goes_on_without_thoughts(self, error: RebootError) -> bool:
        """Vendors bind thoughts to all that came before them, which agents shorten and edit: a talk that goes on without
        thoughts is better than one that cannot. What was refused is not charged.
        """
        refused = isinstance(error, ThoughtsRefused) and not self._leaves_thoughts_out
        self._leaves_thoughts_out |= refused
        return refused

    def _forget_failed(self, error: RebootError) -> None:
        """A call that failed before any output is the house's to pay, whoever ends the request while it waits for the next
        one.
        """
        if not self._received.text_bytes:
            lose(self._job, self._received, error)
            self._stand(with_vendor=False)
            self._received.forget_call()

    def _stand(self, *, with_vendor: bool) -> None:
        self._received.called = with_vendor
        self._stands(with_vendor)

    async def _wait_or_give_up(self, error: RebootError) -> None:
        delay_s = self._delay_before_retry(error)
        if delay_s is None and self._waits_for_capacity(error):
            raise Expired(
                "The vendor had no capacity at the tier flex until the request's deadline: try again later, or without it."
            ) from error
        if delay_s is None:
            raise self._with_replacement(error)
        log.info(
            "vendor call failed, to be repeated",
            code=error.code,
            delay_s=round(delay_s, 3),
            calls=self._received.attempts,
        )
        if delay_s > self._settings.retry_in_place_s:
            await self._defer(delay_s, error)
        await asyncio.sleep(delay_s)

    def _with_replacement(self, error: RebootError) -> RebootError:
        """A model that is gone is told with the one that replaces it."""
        model = self._job.model
        if not isinstance(error, ModelRetired) or model.replaced_by is None:
            return error
        return ModelRetired(
            f"The vendor says that {model.name} is gone: ask for {model.replaced_by}, which replaces it, or choose another,"
            " see GET /api/models."
        )

    async def _defer(self, delay_s: float, error: RebootError) -> NoReturn:
        """Back to the queue for that long; the attempt that goes on then must know how often the vendor was called."""
        try:
            await note_calls(self._client, self._job.id, self._received)
        except UNREACHABLE:
            raise error from None
        raise Retry(defer=delay_s) from error

    async def _ask_whether_it_is_wanted(self, error: RebootError) -> None:
        """The worker hears of an ask to abort only every `IDLE_WAIT_S`, and not at all while a vendor bills to the end: a
        vendor that is called after it would have to be paid.
        """
        try:
            asked = await self._client.zscore(abort_jobs_ss, self._job.id)
        except UNREACHABLE:
            raise error from None
        if asked is not None:
            raise Cancelled("The request was cancelled.")

    def _delay_before_retry(self, error: RebootError) -> float | None:
        if self._received.text_bytes:
            return None
        left_s = self._job.left_s()
        if self._waits_for_capacity(error):
            refused = self._received.refused
            return delay_before_retry(error, self._settings, calls=refused, calls_max=None, left_s=left_s)
        batch = self._job.batch_line is not None  # nobody waits for it
        calls_max = (self._settings.batch_retries_max if batch else self._settings.vendor_retries_max) + 1
        calls = self._received.attempts - self._received.refused - self._received.moved
        return delay_before_retry(error, self._settings, calls=calls, calls_max=calls_max, left_s=left_s)

    def _waits_for_capacity(self, error: RebootError) -> bool:
        """Until the deadline, because a vendor promises none at this tier."""
        return self._tier == "flex" and isinstance(error, ProviderBusy) and not self._received.text_bytes

    async def _call(self, route: Route) -> str:
        fitted = Fitted(self._request(route.model))
        request = fitted.request
        idle_s = self._idle_s() if request.stream else None
        began = time.monotonic()
        total_s = min(self._job.left_s(), self._settings.deadline_s(self._tier))
        pieces = fitted.undone(bounded(route.provider.stream(request), idle_s=idle_s, total_s=total_s))
        stands = sending(lambda with_vendor: self._stand(with_vendor=with_vendor))
        with self._routes.under_way(route), stands as call, receiving(self._has_room_for):
            try:
                async with contextlib.aclosing(pieces):
                    return await self._heard(pieces, route, began)
            finally:
                self._received.accepted = call.accepted

    async def _heard(self, pieces: AsyncGenerator[Piece, None], route: Route, began: float) -> str:
        async for piece in pieces:
            match piece:
                case str():
                    await self._hand_on(Chunk(piece), began)
                case Joined(text, count):
                    await self._hand_on(Chunk(text, count), began)
                case CallPiece() | ThoughtPiece():
                    await self._hand_on(piece, began)
                case Thinking(count):
                    self._received.pieces += count
                case UsedUp(reset_s):
                    await self._routes.used_up(route, reset_s)
                case ServedAt(tier):
                    self._received.served_tier = tier
                case Reported(usage):
                    self._received.reported = usage
                case Finished(reason):
                    STAGE_SECONDS.labels("vendor").observe(time.monotonic() - began)
                    return reason
        raise ProviderError("The vendor's answer broke off before its end.")

    async def _hand_on(self, part: AnswerPart, began: float) -> None:
        if not self._received.text_bytes:
            STAGE_SECONDS.labels("first_token").observe(time.monotonic() - began)
        self._received.text_bytes += bytes_of(part)
        self._received.pieces += part.pieces
        self._handed_on_bytes += _size_of(part)
        self._refuse_endless_answer()
        if self._handed_on_bytes > self._room.size:
            await self._has_room_for(self._handed_on_bytes)
        if not self._is_one_call_too_many(part):
            await self._take(part)

    async def _has_room_for(self, size: int) -> None:
        """Without room by the deadline it goes on: the call's own limit ends it then."""
        await self._room.grow_to(size, self._job.left_s())

    def _is_one_call_too_many(self, part: AnswerPart) -> bool:
        """Most vendors cannot be told to make one call at a time, and clients ask for it (LangChain and Vercel's AI SDK for
        objects): the first call is kept then. What the vendor reports is charged all the same.
        """
        return self._job.tools.parallel is False and isinstance(part, CallPiece) and part.index > 0

    def _refuse_endless_answer(self) -> None:
        if self._handed_on_bytes > self._job.output_limit * BYTES_PER_TOKEN_MAX + SLACK_BYTES:
            raise AnswerTooLong("The vendor did not stop at the output limit: ask for another model.")

    def _request(self, model: Model) -> ProviderRequest:
        job = self._job
        return ProviderRequest(
            id=job.id,
            model=model,
            messages=fit(without_thoughts(job.messages) if self._leaves_thoughts_out else job.messages, model),
            sampling=with_own_key(job.sampling, job.account_id),
            output_limit=job.output_limit,
            stream=self._is_streamed() and model.streams_with(job.tools),
            tools=job.tools,
        )

    def _is_streamed(self) -> bool:
        """Also where nobody asked for it, when the vendor would write less than the output limit at once."""
        most = self._job.model.unstreamed_tokens
        return self._job.stream or (most is not None and self._job.output_limit > most)

    def _idle_s(self) -> float:
        if self._tier == "flex":  # its calls may wait at the vendor for minutes
            return self._settings.flex_deadline_s
        thinks = self._job.model.reasoning
        return self._settings.idle_timeout_reasoning_s if thinks else self._settings.idle_timeout_s


def _size_of(part: AnswerPart) -> int:
    named = "" if isinstance(part, Chunk) else part.id or ""
    return BYTES_PER_PART + bytes_of(part) + len(named.encode())
