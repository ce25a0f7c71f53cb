"""One request as its owner sees it: its row, and as long as they are kept, its journal and its answer."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

import msgspec
from arq.constants import in_progress_key_prefix, job_key_prefix
from arq.jobs import SerializationError, deserialize_job_raw

from api.requests.log import LoggedRequest, State, answer_bytes, find_answer
from api.requests.receipts import Receipt, receipt_of
from shared.answers import whole
from shared.chat import Message, ToolCall
from shared.errors import Cancelled, Unavailable
from shared.job import Done, Event, Failed, Served, arq_deserializer, unpack_event, unpack_job
from shared.money import Usage, UsdNumber, UsdText, nano_to_usd, usd_number
from shared.stores import keys
from shared.stores.redis_client import UNREACHABLE

if TYPE_CHECKING:
    import asyncpg
    import redis.asyncio

NO_USAGE = Usage(0, 0)
UNREADABLE = "The state of the request cannot be read now: try again shortly."


class RequestError(msgspec.Struct, frozen=True):
    """Why a request did not succeed."""

    code: str
    """What kind of error; /docs/errors lists them all."""
    message: str
    """What was wrong, and what to do about it."""


class RequestSummary(msgspec.Struct, frozen=True, kw_only=True):
    """A request, as a line of the history."""

    id: str
    """The request, as in `x-request-id`."""
    state: State
    """Where the request stands."""
    model: str
    """The public name of the model that serves it."""
    stream: bool
    """Whether its caller asked for a stream."""
    key_id: str
    """The key that it came with."""
    created_at: datetime
    """When the request was admitted."""
    ended_at: datetime | None
    """When it was settled; null before."""
    tokens_input: int | None
    """Billed tokens of the question; null before it ended."""
    tokens_output: int | None
    """Billed tokens of the answer; null before it ended."""
    hold_usd: UsdText
    """The credit that was held for it."""
    charged_usd: UsdText
    """What was charged for it so far."""
    attempts: int
    """How often vendors were called for it."""
    finish_reason: str | None
    """Why the model stopped; null where it did not finish."""
    error: RequestError | None
    """Why it did not succeed; null where it did."""
    metadata: dict[str, str] | None
    """What its caller attached to it."""


class RequestView(RequestSummary, frozen=True, kw_only=True):
    """Everything that is known of one request."""

    price: UsdNumber | None
    """USD that were charged; null before it ended."""
    response: str | None
    """The text that the model wrote; null until the request ended, and once the text is no longer kept."""
    tool_calls: tuple[ToolCall, ...] | None
    """The calls of tools that the model made; null where `response` is."""
    thoughts: list[str] | None
    """What the model thought, where the request asked to see it; else null."""
    request: list[Message] | None
    """The messages that were asked; null once they are no longer kept, and where they were too long to keep."""
    result_expired: bool
    """Whether the answer is no longer kept."""
    receipt: Receipt
    """What was promised and what was taken."""


class Traces(msgspec.Struct, frozen=True):
    """What Redis still has of a request."""

    running: bool = False
    events: tuple[Event, ...] = ()
    asked: list[Message] | None = None

    @property
    def end(self) -> Done | Failed | None:
        """The last event, if the request has ended."""
        last = self.events[-1] if self.events else None
        return last if isinstance(last, Done | Failed) else None

    @property
    def answer(self) -> Done | None:
        """Everything that the model wrote, even if it was cut off; None if there is nothing."""
        if not self.events:
            return None
        last = self.events[-1]
        if isinstance(last, Done) and last.text is not None:
            return last
        parts = (event for event in self.events if not isinstance(event, Done | Failed | Served))
        return whole(Done("", NO_USAGE, 0), parts)

    def as_served(self, logged: LoggedRequest) -> LoggedRequest:
        """The row with the model that serves: the journal knows a moment before Postgres that another model of the chain
        does.
        """
        first = self.events[0] if self.events and logged.state == "pending" else None
        return logged.at(first.model) if isinstance(first, Served) else logged


async def view_of(pool: asyncpg.Pool, client: redis.asyncio.Redis, logged: LoggedRequest) -> RequestView:
    """Everything that is known of the request. Raises `Unavailable`."""
    traces = await traces_of(client, logged.id)
    logged = traces.as_served(logged)
    answer, asked = traces.answer, traces.asked
    if logged.keep_until and logged.state != "pending" and answer is None:
        kept = await find_answer(pool, logged.id)
        answer, asked = (kept.done, kept.messages) if kept else (None, None)
    summary = msgspec.structs.asdict(_summary(logged, traces))
    ended = summary["state"] not in {"queued", "running"}
    return RequestView(
        **summary,
        price=usd_number(_charged(logged, traces)) if ended else None,
        response=answer.text if ended and answer else None,
        tool_calls=answer.calls or None if ended and answer else None,
        thoughts=[one.text for one in answer.thoughts if one.text] or None if ended and answer else None,
        request=asked and [msgspec.structs.replace(said, cache_marks=()) for said in asked],
        result_expired=answer is None and (logged.state == "succeeded" or logged.charged_nano > 0),
        receipt=_receipt(logged, traces),
    )


async def bytes_kept(pool: asyncpg.Pool, client: redis.asyncio.Redis, logged: LoggedRequest) -> int:
    """The approximate size of what `view_of` reads. Raises `Unavailable`."""
    try:
        async with client.pipeline(transaction=False) as pipe:
            pipe.strlen(keys.asked(logged.id))
            pipe.strlen(job_key_prefix + logged.id)
            pipe.memory_usage(keys.journal(logged.id), samples=0)
            *asked, journal = await pipe.execute()
    except UNREACHABLE as error:
        raise Unavailable(UNREADABLE) from error
    is_kept = journal is None and logged.keep_until and logged.state != "pending"
    answer = await answer_bytes(pool, logged.id) if is_kept else journal or 0
    return int(sum(asked) + answer)


async def summaries_of(client: redis.asyncio.Redis, page: list[LoggedRequest]) -> list[RequestSummary]:
    """Lines of the history. Raises `Unavailable`."""
    pending = [logged.id for logged in page if logged.state == "pending"]
    running = await _running(client, pending) if pending else set()
    return [_summary(logged, Traces(running=logged.id in running)) for logged in page]


def _summary(logged: LoggedRequest, traces: Traces) -> RequestSummary:
    usage = usage_of(logged, traces)
    return RequestSummary(
        id=logged.id,
        state=state_of(logged, traces),
        model=logged.model,
        stream=logged.stream,
        key_id=logged.key_id,
        created_at=logged.created_at,
        ended_at=logged.ended_at,
        tokens_input=usage.input if usage else None,
        tokens_output=usage.output if usage else None,
        hold_usd=nano_to_usd(logged.hold_nano),
        charged_usd=nano_to_usd(_charged(logged, traces)),
        attempts=logged.attempts,
        finish_reason=logged.finish_reason or (traces.end.finish_reason if isinstance(traces.end, Done) else None),
        error=error_of(logged, traces),
        metadata=logged.metadata,
    )


def _receipt(logged: LoggedRequest, traces: Traces) -> Receipt:
    ended = logged.state != "pending" or traces.end is not None
    return receipt_of(logged, usage_of(logged, traces), _charged(logged, traces), ended=ended)


def state_of(logged: LoggedRequest, traces: Traces) -> State:
    """The state of the request; the journal knows of its end a moment before Postgres does."""
    if logged.state != "pending":
        return logged.state
    match traces.end:
        case Done():
            return "succeeded"
        case Failed(error):
            return "cancelled" if error.code == Cancelled.code else "failed"
    return "running" if traces.running or traces.events else "queued"


def usage_of(logged: LoggedRequest, traces: Traces) -> Usage | None:
    """The billed usage; None until it is known."""
    if logged.tokens_input is None or logged.tokens_output is None:
        return traces.end.usage if traces.end else None
    return Usage(
        input=logged.tokens_input,
        output=logged.tokens_output,
        cached=logged.tokens_cached or 0,
        reasoning=logged.tokens_reasoning or 0,
        estimated=bool(logged.usage_estimated),
        written=logged.tokens_cache_written or 0,
        written_long=logged.tokens_cache_written_long or 0,
    )


def _charged(logged: LoggedRequest, traces: Traces) -> int:
    return traces.end.charged_nano if logged.state == "pending" and traces.end else logged.charged_nano


def error_of(logged: LoggedRequest, traces: Traces) -> RequestError | None:
    """Why the request did not succeed."""
    if logged.error_code:
        return RequestError(logged.error_code, logged.error_message or "")
    return RequestError(traces.end.error.code, traces.end.error.message) if isinstance(traces.end, Failed) else None


async def traces_of(client: redis.asyncio.Redis, request_id: str) -> Traces:
    """Read what Redis still has of the request. Raises `Unavailable`."""
    try:
        async with client.pipeline(transaction=False) as pipe:
            pipe.exists(in_progress_key_prefix + request_id)
            pipe.lrange(keys.journal(request_id), 0, -1)
            pipe.mget([keys.asked(request_id), job_key_prefix + request_id])
            running, journal, payloads = await pipe.execute()
    except UNREACHABLE as error:
        raise Unavailable(UNREADABLE) from error
    payload = next(filter(None, payloads), None)
    return Traces(bool(running), tuple(map(unpack_event, journal)), _asked(payload) if payload else None)


async def _running(client: redis.asyncio.Redis, request_ids: list[str]) -> set[str]:
    try:
        marks = await client.mget([in_progress_key_prefix + request_id for request_id in request_ids])
    except UNREACHABLE as error:
        raise Unavailable("The state of the requests cannot be read now: try again shortly.") from error
    return {request_id for request_id, mark in zip(request_ids, marks, strict=True) if mark}


def _asked(payload: bytes) -> list[Message] | None:
    """The messages of a job; None if another release wrote it in a form that cannot be read."""
    try:
        _, (sealed,), *_ = deserialize_job_raw(payload, deserializer=arq_deserializer)
        return unpack_job(sealed.data).messages
    except (SerializationError, msgspec.DecodeError):
        return None
