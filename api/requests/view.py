"""One request for its owner: its row, and as long as they are kept, its journal and its answer."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

import msgspec

from api.requests.log import LoggedRequest, State, answer_bytes, find_answer
from api.requests.receipts import Receipt, receipt_of
from shared.chat import Message, ToolCall
from shared.errors import Cancelled
from shared.job import Done, Failed
from shared.money import Usage, UsdNumber, UsdText, nano_to_usd, usd_number
from shared.queue.known import Known, known_of, running_among, size_of

if TYPE_CHECKING:
    import asyncpg
    import redis.asyncio


class RequestError(msgspec.Struct, frozen=True):
    """The reason for which a request did not succeed."""

    code: str
    """The error's code, one of the codes in `/docs/errors`."""
    message: str
    """A sentence for people that says what went wrong and what to do."""


class RequestSummary(msgspec.Struct, frozen=True, kw_only=True):
    """A request in the list of requests."""

    id: str
    """The request's id, the same as in `x-request-id`."""
    state: State
    """The state of the request: `queued`, `running`, `succeeded`, `failed` or `cancelled`."""
    model: str
    """The public name of the model that serves the request."""
    stream: bool
    """True if the caller asked for a stream."""
    key_id: str
    """The id of the API key that the request came with."""
    created_at: datetime
    """The time at which the request was admitted."""
    ended_at: datetime | None
    """The time at which the request was settled; null before."""
    tokens_input: int | None
    """Billed input tokens, cached and written ones among them; null until the request has ended."""
    tokens_output: int | None
    """Billed output tokens, reasoning among them; null until the request has ended."""
    hold_usd: UsdText
    """The USD held for the request, as a decimal string."""
    charged_usd: UsdText
    """The USD charged for the request so far, as a decimal string."""
    attempts: int
    """The number of calls of vendors for the request."""
    finish_reason: str | None
    """The reason for which the model stopped: `stop`, `length`, `tool_calls` or `content_filter`; null if it did not
    finish.
    """
    error: RequestError | None
    """The reason for which the request did not succeed; null if it did."""
    metadata: dict[str, str] | None
    """The labels of the request (`metadata`); null if it has none."""


class RequestView(RequestSummary, frozen=True, kw_only=True):
    """All that is known about one request."""

    price: UsdNumber | None
    """The USD charged for the request, as a number; null until it has ended."""
    response: str | None
    """The text that the model wrote; null until the request has ended, and once the text is no longer kept."""
    tool_calls: tuple[ToolCall, ...] | None
    """The tool calls that the model made; null if `response` is null."""
    thoughts: list[str] | None
    """The texts of the model's thoughts, if the request asked to see them; null otherwise."""
    request: list[Message] | None
    """The messages of the request; null once they are no longer kept, and if they were too long to be kept."""
    result_expired: bool
    """True if the answer is no longer kept."""
    receipt: Receipt
    """The terms on which the request was admitted, and its charge."""


async def view_of(pool: asyncpg.Pool, client: redis.asyncio.Redis, logged: LoggedRequest) -> RequestView:
    """All that is known about the request. Raises `Unavailable`."""
    known = await known_of(client, logged.id)
    logged = as_served(logged, known)
    answer, asked = known.answer, known.job.messages if known.job else None
    if logged.keep_until and logged.state != "pending" and answer is None:
        kept = await find_answer(pool, logged.id)
        answer, asked = (kept.done, kept.messages) if kept else (None, None)
    summary = msgspec.structs.asdict(_summary(logged, known))
    ended = summary["state"] not in {"queued", "running"}
    return RequestView(
        **summary,
        price=usd_number(_charged(logged, known)) if ended else None,
        response=answer.text if ended and answer else None,
        tool_calls=answer.calls or None if ended and answer else None,
        thoughts=[one.text for one in answer.thoughts if one.text] or None if ended and answer else None,
        request=asked and [msgspec.structs.replace(said, cache_marks=()) for said in asked],
        result_expired=answer is None and (logged.state == "succeeded" or logged.charged_nano > 0),
        receipt=_receipt(logged, known),
    )


async def bytes_kept(pool: asyncpg.Pool, client: redis.asyncio.Redis, logged: LoggedRequest) -> int:
    """The approximate bytes that `view_of` reads. Raises `Unavailable`."""
    job, journal = await size_of(client, logged.id)
    is_kept = journal is None and logged.keep_until and logged.state != "pending"
    return job + (await answer_bytes(pool, logged.id) if is_kept else journal or 0)


async def summaries_of(client: redis.asyncio.Redis, page: list[LoggedRequest]) -> list[RequestSummary]:
    """The entries of the list of requests. Raises `Unavailable`."""
    pending = [logged.id for logged in page if logged.state == "pending"]
    running = await running_among(client, pending)
    return [_summary(logged, Known(running=logged.id in running)) for logged in page]


def _summary(logged: LoggedRequest, known: Known) -> RequestSummary:
    usage = usage_of(logged, known)
    return RequestSummary(
        id=logged.id,
        state=state_of(logged, known),
        model=logged.model,
        stream=logged.stream,
        key_id=logged.key_id,
        created_at=logged.created_at,
        ended_at=logged.ended_at,
        tokens_input=usage.input if usage else None,
        tokens_output=usage.output if usage else None,
        hold_usd=nano_to_usd(logged.hold_nano),
        charged_usd=nano_to_usd(_charged(logged, known)),
        attempts=logged.attempts,
        finish_reason=logged.finish_reason or (known.end.finish_reason if isinstance(known.end, Done) else None),
        error=error_of(logged, known),
        metadata=logged.metadata,
    )


def _receipt(logged: LoggedRequest, known: Known) -> Receipt:
    ended = logged.state != "pending" or known.end is not None
    return receipt_of(logged, usage_of(logged, known), _charged(logged, known), ended=ended)


def as_served(logged: LoggedRequest, known: Known) -> LoggedRequest:
    """The row with the model that serves: the journal knows it a moment before Postgres."""
    return logged.at(known.served_by) if known.served_by and logged.state == "pending" else logged


def state_of(logged: LoggedRequest, known: Known) -> State:
    """The state of the request. The journal knows about its end a moment before Postgres does."""
    if logged.state != "pending":
        return logged.state
    match known.end:
        case Done():
            return "succeeded"
        case Failed(error):
            return "cancelled" if error.code == Cancelled.code else "failed"
    return "running" if known.running or known.events else "queued"


def usage_of(logged: LoggedRequest, known: Known) -> Usage | None:
    """The billed usage; None until it is known."""
    if logged.tokens_input is None or logged.tokens_output is None:
        return known.end.usage if known.end else None
    return Usage(
        input=logged.tokens_input,
        output=logged.tokens_output,
        cached=logged.tokens_cached or 0,
        reasoning=logged.tokens_reasoning or 0,
        estimated=bool(logged.usage_estimated),
        written=logged.tokens_cache_written or 0,
        written_long=logged.tokens_cache_written_long or 0,
    )


def _charged(logged: LoggedRequest, known: Known) -> int:
    return known.end.charged_nano if logged.state == "pending" and known.end else logged.charged_nano


def error_of(logged: LoggedRequest, known: Known) -> RequestError | None:
    """The reason for which the request did not succeed; None if it did or has not ended."""
    if logged.error_code:
        return RequestError(logged.error_code, logged.error_message or "")
    return RequestError(known.end.error.code, known.end.error.message) if isinstance(known.end, Failed) else None
