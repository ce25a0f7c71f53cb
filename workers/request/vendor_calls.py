"""Calls the vendor for one request, repeats the call if the policy allows it, and passes the text on as it arrives."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import TYPE_CHECKING

from shared.chat import CallPiece
from shared.errors import ProviderError, RebootError
from shared.job import AnswerPart, Chunk
from shared.runtime import traces
from shared.runtime.metrics import VENDOR_CALLS
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
from workers.request.incoming import Incoming
from workers.request.limits import bounded
from workers.request.next_call import NextCall, nobody_is_next
from workers.request.own_names import with_own_names
from workers.request.retry import waits_for_capacity
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


class VendorCalls:
    """The calls of one attempt. `received` is always up to date, so that the attempt can be charged however it ends.
    `take` gets each part of the answer, after `room` has room for it; `forget` is called if another call writes the
    answer anew; `on_vendor_has_call` is told whether a vendor has the call now; `next_is_well` says whether the next
    model of the chain can be called now.
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
        self._incoming = Incoming(job, received, room, take)
        self._forget = forget
        self._on_vendor_has_call = on_vendor_has_call
        self._leaves_thoughts_out = False

    async def until_one_works(self) -> str:
        """The finish reason of the call that succeeded. Raises the last call's `RebootError`, `Cancelled` if the caller
        cancelled before the next call, or arq's `Retry` to wait in the queue instead of in a slot.
        """
        route = await self._next.first()
        while True:
            self._received.calls += 1
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
        if not self._received.text_bytes:
            self._write_off(error)
        VENDOR_CALLS.labels(self._job.model.api, error.code).inc()
        self._received.refused += waits_for_capacity(self._job, error)
        await call.failed(error, is_repeat=self._next.is_repeat())

    def _discard_partial_answer(self, error: RebootError) -> bool:
        """Drop the partial answer if its caller has seen nothing of it; true if anything had been received."""
        begun = self._received.text_bytes > 0
        if begun and not self._job.stream:
            self._write_off(error)
            self._forget()
            self._incoming.forget()
        return begun

    def _drop_thoughts_after(self, error: RebootError) -> bool:
        """Leave thoughts out from now on if that error refused them; true if the call is to be repeated. Vendors bind
        thoughts to everything before them, which agents shorten and edit, and an answer without thoughts is better than
        none. The refused call is not charged.
        """
        refused = isinstance(error, ThoughtsRefused) and not self._leaves_thoughts_out
        self._leaves_thoughts_out |= refused
        return refused

    def _write_off(self, error: RebootError) -> None:
        """Record a call whose output nobody has seen as the operator's cost, in case the request ends while it waits for
        the next call.
        """
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
        """Make one call. A recovering upstream is asked for a stream, which soon shows whether the upstream has
        recovered.
        """
        fitted = Fitted(self._request(call.route.model, streamed=self._is_streamed() or call.is_probe))
        request = fitted.request
        traces.note({"gen_ai.request.stream": request.stream})
        self._incoming.begin(is_timed=request.stream and self._tier == "default" and self._job.batch_line is None)
        pieces = self._pieces(call, fitted)
        progress = sending(lambda with_vendor: self._note_vendor_has_call(with_vendor=with_vendor))
        with progress as sent, receiving(self._incoming.await_room):
            try:
                async with contextlib.aclosing(pieces):
                    return await self._heard(pieces, call)
            finally:
                self._received.accepted = sent.accepted

    def _pieces(self, call: Call, fitted: Fitted) -> AsyncGenerator[Piece, None]:
        """The vendor's answer to the `fitted` request, within its time limits and in the form that the caller asked for."""
        request = fitted.request
        pieces = bounded(
            call.route.provider.stream(request),
            idle_s=self._idle_s() if request.stream else None,
            total_s=min(self._job.left_s(), self._settings.deadline_s(self._tier)),
            first_s=self._settings.upstream_probe_s if call.is_probe and request.stream else None,
        )
        return fitted.undone(_noted(pieces, call) if call.is_probe else pieces)

    async def _heard(self, pieces: AsyncGenerator[Piece, None], call: Call) -> str:
        async for piece in pieces:
            match piece:
                case str():
                    await self._incoming.hand_on(Chunk(piece))
                case Joined(text, count):
                    await self._incoming.hand_on(Chunk(text, count))
                case CallPiece() | ThoughtPiece():
                    await self._incoming.hand_on(piece)
                case Thinking(count):
                    self._incoming.thought(count)
                case UsedUp(reset_s, next_s):
                    await call.used_up(reset_s, next_s)
                case ServedAt(tier):
                    self._received.served_tier = tier
                case Reported(usage):
                    self._received.reported = usage
                case Finished(reason):
                    self._incoming.end()
                    return reason
        raise ProviderError("The vendor's answer broke off before its end.")

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
        """True if the vendor is asked for a stream. It is, even if the caller did not ask for one, if the vendor would
        otherwise write less than the output limit, or if another upstream or model could answer: only a stream shows
        soon that this upstream is silent.
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
