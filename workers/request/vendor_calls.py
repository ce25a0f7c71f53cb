"""Calls the vendor for one request, repeats the call if the policy allows it, and passes the text on as it arrives."""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import TYPE_CHECKING

from shared.chat import CallPiece
from shared.errors import AnswerTooLong, ProviderError, RebootError
from shared.job import AnswerPart, Chunk, bytes_of
from shared.runtime import traces
from shared.runtime.last_minute import LAST_MINUTE
from shared.runtime.metrics import STAGE_SECONDS, VENDOR_CALLS
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
from workers.request.limits import bounded
from workers.request.next_call import NextCall, nobody_is_next, waits_for_capacity
from workers.request.own_names import with_own_names
from workers.request.tracing import vendor_span

if TYPE_CHECKING:
    import redis.asyncio

    from shared.catalogue.models import Model
    from shared.job import Job
    from shared.runtime.growing_room import Growth
    from shared.settings import Settings
    from workers.request.billing import Received
    from workers.upstreams.calls import Call
    from workers.upstreams.routes import Routes

BYTES_PER_TOKEN_MAX, SLACK_BYTES = 256, 65_536
"""An answer with more bytes than this per token of the output limit comes from a vendor that does not stop. The longest
tokens of published vocabularies have 128 bytes (tiktoken's o200k_base and cl100k_base, read 2026-11).
"""
BYTES_PER_TOKEN_SHOWN = 4
"""Average bytes per token, for figures that are not billed."""
BYTES_PER_PART = 64
"""Least memory of a part of an answer beside its text, here and in the journal."""


class VendorCalls:
    """The calls of one attempt. `received` is always up to date, so that the attempt can be charged however it ends. `take`
    gets each part of the answer, after `room` has room for it; `forget` is called if another call writes the answer anew;
    `on_vendor_has_call` is told whether a vendor has the call now; `next_is_well` says whether the next model of the chain
    can be called now.
    """

    def __init__(
        self,
        job: Job,
        routes: Routes,
        client: redis.asyncio.Redis,
        settings: Settings,
        *,
        received: Received,
        take: Callable[[AnswerPart], Awaitable[None]],
        forget: Callable[[], None],
        on_vendor_has_call: Callable[[bool], None],
        room: Growth,
        next_is_well: Callable[[], Awaitable[bool]] = nobody_is_next,
    ) -> None:
        self._job = job
        self._tier = job.model.service_tier
        self._routes = routes
        self._next = NextCall(job, routes, client, settings, received, next_is_well)
        self._settings = settings
        self._received = received
        self._take = take
        self._forget = forget
        self._on_vendor_has_call = on_vendor_has_call
        self._room = room
        self._leaves_thoughts_out = False
        self._is_timed = False
        """Whether the time to the first token of this call is measured."""
        self._handed_on_bytes = 0
        """Bytes of all parts, including the ids of tool calls, which are not text."""

    async def until_one_works(self) -> str:
        """The finish reason of the call that succeeded. Raises the last call's `RebootError`, `Cancelled` if the caller
        cancelled before the next call, or arq's `Retry` to wait in the queue instead of in a slot.
        """
        route = await self._next.first()
        while True:
            self._received.attempts += 1
            self._received.upstream, self._received.cost_factor = route.name, route.upstream.cost_factor
            with self._routes.call(route) as call:
                try:
                    reason = await (self._traced(call) if traces.traceparent() else self._call(call))
                except RebootError as failure:
                    error = failure
                    await self._note_failure(call, error)
                else:
                    VENDOR_CALLS.labels(self._job.model.api, reason).inc()
                    call.succeeded(reason)
                    return reason
            if self._drop_thoughts_after(error):
                await self._next.ask_whether_it_is_wanted(error)
            else:
                begun = self._discard_partial_answer(error)
                route = await self._next.after(route, error, begun=begun)

    async def _note_failure(self, call: Call, error: RebootError) -> None:
        self._book_failed_call(error)
        VENDOR_CALLS.labels(self._job.model.api, error.code).inc()
        self._received.refused += waits_for_capacity(self._job, error)
        await call.failed(error)

    def _discard_partial_answer(self, error: RebootError) -> bool:
        """Drop the partial answer if its caller has seen nothing of it; true if anything had been received."""
        begun = self._received.text_bytes > 0
        if begun and not self._job.stream:
            lose(self._job, self._received, error)
            self._forget()
            self._received.text_bytes = self._handed_on_bytes = 0
            self._book_failed_call(error)
        return begun

    def _drop_thoughts_after(self, error: RebootError) -> bool:
        """Leave thoughts out from now on if that error refused them; true if the call is to be repeated. Vendors bind
        thoughts to everything before them, which agents shorten and edit; going on without thoughts is better than failing.
        The refused call is not charged.
        """
        refused = isinstance(error, ThoughtsRefused) and not self._leaves_thoughts_out
        self._leaves_thoughts_out |= refused
        return refused

    def _book_failed_call(self, error: RebootError) -> None:
        """Record a call that failed before any output as the house's cost, in case the request ends while it waits for the
        next call.
        """
        if not self._received.text_bytes:
            lose(self._job, self._received, error)
            self._note_vendor_has_call(with_vendor=False)
            self._received.forget_call()

    def _note_vendor_has_call(self, *, with_vendor: bool) -> None:
        self._received.called = with_vendor
        self._on_vendor_has_call(with_vendor)

    async def _traced(self, call: Call) -> str:
        with vendor_span(self._job, call.route, self._received):
            reason = await self._call(call)
            traces.note({"gen_ai.response.finish_reasons": [reason]})
            return reason

    async def _call(self, call: Call) -> str:
        """Make one call. An upstream that recovers is asked for a stream, which soon shows whether it has recovered."""
        fitted = Fitted(self._request(call.route.model, streamed=self._is_streamed() or call.is_probe))
        request = fitted.request
        traces.note({"gen_ai.request.stream": request.stream})
        self._is_timed = request.stream and self._tier == "default" and self._job.batch_line is None
        idle_s = self._idle_s() if request.stream else None
        began = time.monotonic()
        total_s = min(self._job.left_s(), self._settings.deadline_s(self._tier))
        first_s = self._settings.upstream_probe_s if call.is_probe and request.stream else None
        pieces = bounded(call.route.provider.stream(request), idle_s=idle_s, total_s=total_s, first_s=first_s)
        pieces = fitted.undone(_noted(pieces, call) if call.is_probe else pieces)
        progress = sending(lambda with_vendor: self._note_vendor_has_call(with_vendor=with_vendor))
        with progress as sent, receiving(self._await_room):
            try:
                async with contextlib.aclosing(pieces):
                    return await self._heard(pieces, call, began)
            finally:
                self._received.accepted = sent.accepted

    async def _heard(self, pieces: AsyncGenerator[Piece, None], call: Call, began: float) -> str:
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
                    LAST_MINUTE.received(self._job.model.provider, count)
                case UsedUp(reset_s, next_s):
                    await call.used_up(reset_s, next_s)
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
            waited_s = time.monotonic() - began
            STAGE_SECONDS.labels("first_token").observe(waited_s)
            traces.note({"gen_ai.response.time_to_first_chunk": waited_s})
            if self._is_timed:
                LAST_MINUTE.first_token(self._job.model.provider, waited_s)
        LAST_MINUTE.received(self._job.model.provider, max(part.pieces, bytes_of(part) // BYTES_PER_TOKEN_SHOWN))
        self._received.text_bytes += bytes_of(part)
        self._received.pieces += part.pieces
        self._handed_on_bytes += _size_of(part)
        self._refuse_endless_answer()
        if self._handed_on_bytes > self._room.size:
            await self._await_room(self._handed_on_bytes)
        if not self._is_one_call_too_many(part):
            await self._take(part)

    async def _await_room(self, size: int) -> None:
        """Wait for room. Without room by the deadline the call goes on, and its own limit ends it."""
        await self._room.grow_to(size, self._job.left_s())

    def _is_one_call_too_many(self, part: AnswerPart) -> bool:
        """Whether the part belongs to a second call although one was asked for. Most vendors have no parameter for that,
        and clients ask for it (LangChain and Vercel's AI SDK for objects), so only the first call is kept. What the vendor
        reports is charged nevertheless.
        """
        return self._job.tools.parallel is False and isinstance(part, CallPiece) and part.index > 0

    def _refuse_endless_answer(self) -> None:
        if self._handed_on_bytes > self._job.output_limit * BYTES_PER_TOKEN_MAX + SLACK_BYTES:
            raise AnswerTooLong("The vendor did not stop at the output limit: ask for another model.")

    def _request(self, model: Model, *, streamed: bool) -> ProviderRequest:
        job = self._job
        return ProviderRequest(
            id=job.id,
            model=model,
            messages=fit(without_thoughts(job.messages) if self._leaves_thoughts_out else job.messages, model),
            sampling=with_own_names(job.sampling, job.account_id),
            output_limit=job.output_limit,
            stream=streamed and model.streams_with(job.tools),
            tools=job.tools,
            footprint=job.footprint,
        )

    def _is_streamed(self) -> bool:
        """Whether the vendor is asked for a stream: also without the caller's wish if the vendor would write less than the
        output limit otherwise, or if another upstream or model could answer, because only a stream shows soon that this
        one is silent.
        """
        most = self._job.model.unstreamed_tokens
        is_cut = most is not None and self._job.output_limit > most
        return self._job.stream or is_cut or bool(self._job.fallbacks) or len(self._routes.of(self._job.model)) > 1

    def _idle_s(self) -> float:
        if self._tier == "flex":  # flex calls may wait at the vendor for minutes
            return self._settings.flex_deadline_s
        thinks = self._job.model.reasoning
        return self._settings.idle_timeout_reasoning_s if thinks else self._settings.idle_timeout_s


async def _noted(pieces: AsyncGenerator[Piece, None], call: Call) -> AsyncGenerator[Piece, None]:
    """Pass the pieces on; the first one shows that the upstream answers."""
    async with contextlib.aclosing(pieces):
        async for piece in pieces:
            call.answered()
            yield piece


def _size_of(part: AnswerPart) -> int:
    named = "" if isinstance(part, Chunk) else part.id or ""
    return BYTES_PER_PART + bytes_of(part) + len(named.encode())
