"""Anthropic's message batches: how a batch is shown, and the lines of its results."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Annotated, Literal

import msgspec

from api.formats.anthropic.answers import message
from api.formats.anthropic.body import MessagesRequest
from api.formats.anthropic.chat import parse_message
from api.formats.anthropic.errors import AnthropicFailure, failure
from api.formats.asked import CUSTOM_ID_LENGTH_MAX, Asked
from shared import clock
from shared.batches.batches import Batch, unpack_ask
from shared.batches.results import Result, results_kept_until
from shared.errors import InvalidRequest, error_body
from shared.job import unpack_answer
from shared.json_lines import json_line
from shared.money import UsdText, nano_to_usd

REQUESTS_MAX = 100_000
"""Most requests of a batch, unless `BATCH_LINES_MAX` says otherwise."""
OURS, THEIRS = "batch_", "msgbatch_"
_THEIRS = re.compile(r"msgbatch_([0-9a-z]{26})")
Status = Literal["in_progress", "canceling", "ended"]


class MessageBatchEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One request of a batch."""

    custom_id: Annotated[str, msgspec.Meta(min_length=1, max_length=CUSTOM_ID_LENGTH_MAX)]
    """Your own id of the request, 1 to 256 characters, unique in the batch."""
    params: MessagesRequest
    """The body of `POST /v1/messages`, without `stream`."""


class MessageBatchBody(msgspec.Struct, frozen=True, kw_only=True):
    """The body of `POST /v1/messages/batches`, which is read as it arrives."""

    requests: Annotated[list[MessageBatchEntry], msgspec.Meta(min_length=1, max_length=REQUESTS_MAX)]
    """The requests of the batch, 1 to 100,000 (`BATCH_LINES_MAX` of this service may allow another number)."""


class MessageBatchCounts(msgspec.Struct, frozen=True, kw_only=True):
    """The batch's requests, counted by their state."""

    processing: int
    """Requests that have not ended."""
    succeeded: int
    """Requests with an answer."""
    errored: int
    """Requests that ended with an error."""
    canceled: int
    """Requests that were cancelled before they ended."""
    expired: int
    """Requests that had not run when the batch ended."""


class MessageBatch(msgspec.Struct, frozen=True, kw_only=True):
    """A batch in Anthropic's form, with `paused_for`, `reason` and `charged_usd` besides."""

    id: str
    """The batch's id, `msgbatch_…`."""
    type: Literal["message_batch"] = "message_batch"
    processing_status: Status
    """`in_progress`, `canceling` or `ended`; a paused batch is `in_progress`."""
    request_counts: MessageBatchCounts
    """The batch's requests, counted by their state."""
    created_at: datetime
    """The time at which the batch was created."""
    expires_at: datetime
    """The time at which the batch ends, even if some of its requests have not run."""
    ended_at: datetime | None
    """The time at which the batch's last request ended; null before."""
    cancel_initiated_at: datetime | None
    """The time at which the batch was cancelled; null if it was not."""
    archived_at: datetime | None
    """The time at which the batch's results were deleted; null while they are kept."""
    results_url: str | None
    """The address of the batch's results; null until the batch has ended."""
    paused_for: str | None
    """The reason for which no more requests are started, `insufficient_credit` or `key_limit`; null while the batch is
    not paused.
    """
    reason: str | None
    """The reason for which the service itself cancelled the batch, `key_revoked` or `key_expired`; null otherwise."""
    charged_usd: UsdText
    """The USD charged for the batch so far, as a decimal string."""


class MessageBatches(msgspec.Struct, frozen=True, kw_only=True):
    """A page of the account's batches, newest first."""

    data: list[MessageBatch]
    """The batches of this page."""
    has_more: bool
    """True if there are more batches in the direction of the page: older ones, or newer ones with `before_id`."""
    first_id: str | None
    """The id of the first batch on the page; null on an empty page."""
    last_id: str | None
    """The id of the last batch on the page; null on an empty page."""


class DeletedMessageBatch(msgspec.Struct, frozen=True, kw_only=True):
    """The confirmation that a batch was deleted."""

    id: str
    """The id of the deleted batch."""
    type: Literal["message_batch_deleted"] = "message_batch_deleted"


class Succeeded(msgspec.Struct, frozen=True, tag="succeeded"):
    """The outcome of a request that has an answer."""

    message: msgspec.Raw
    """The message, in the form of `POST /v1/messages`."""


class Errored(msgspec.Struct, frozen=True, tag="errored"):
    """The outcome of a request that ended with an error."""

    error: AnthropicFailure
    """The error, in the form of `POST /v1/messages`."""


class Canceled(msgspec.Struct, frozen=True, tag="canceled"):
    """The outcome of a request whose batch was cancelled before the request ran."""


class Expired(msgspec.Struct, frozen=True, tag="expired"):
    """The outcome of a request whose batch expired before the request ran."""


class ResultLine(msgspec.Struct, frozen=True, kw_only=True):
    """One line of a batch's results."""

    custom_id: str | None
    """The caller's own id of the request."""
    result: Succeeded | Errored | Canceled | Expired
    """The outcome: an answer, an error, or the reason for which the request was not run."""
    ignored: tuple[str, ...] | msgspec.UnsetType = msgspec.UNSET
    """Fields of `params` that were left out; this field is missing if there are none."""


NOT_RUN: dict[str | None, Canceled | Expired] = {"cancelled": Canceled(), "expired": Expired()}


def parse_params(params: bytes, *, interleaved: bool = False) -> Asked:
    """Parse one request of a batch, as `parse_message` does. Raises `InvalidRequest`, which names the field."""
    asked = parse_message(params, interleaved=interleaved)
    if asked.stream:
        raise InvalidRequest("`stream` is not possible in a batch: leave it out.")
    return asked


def message_batch_id(batch_id: str) -> str:
    """The id of the batch in Anthropic's form: `msgbatch_` and its 26 characters."""
    return THEIRS + batch_id.removeprefix(OURS)


def batch_id_of(message_batch: str) -> str:
    """The batch's own id; an empty text, which is no batch's id, if the argument has another form."""
    found = _THEIRS.fullmatch(message_batch)
    return OURS + found[1] if found else ""


def message_batch(batch: Batch, results_at: str, days_kept: int) -> MessageBatch:
    """The batch as Anthropic's clients see it. `results_at` is the address of its results up to the id."""
    batch_id = message_batch_id(batch.id)
    until = results_kept_until(batch, days_kept)
    ended = batch.completed + batch.failed + batch.cancelled + batch.expired
    return MessageBatch(
        id=batch_id,
        processing_status=_status(batch),
        request_counts=MessageBatchCounts(
            processing=batch.total - ended,
            succeeded=batch.completed,
            errored=batch.failed,
            canceled=batch.cancelled,
            expired=batch.expired,
        ),
        created_at=batch.created_at,
        expires_at=batch.expires_at,
        ended_at=batch.ended_at,
        cancel_initiated_at=batch.cancelled_at,
        archived_at=until if until <= clock.utc_now() else None,
        results_url=f"{results_at}/{batch_id}/results" if batch.ended_at else None,
        paused_for=batch.paused_for,
        reason=batch.reason,
        charged_usd=nano_to_usd(batch.charged_nano),
    )


def _status(batch: Batch) -> Status:
    if batch.ended_at:
        return "ended"
    return "canceling" if batch.state == "cancelling" else "in_progress"


def result_line(result: Result) -> bytes:
    """One line of the results, with its line end."""
    return json_line(_result(result)) + b"\n"


def _result(result: Result) -> ResultLine:
    if result.answer is not None and result.asked is not None:
        kept, ask = unpack_answer(result.answer), unpack_ask(result.asked)
        model, ignored = ask.answered_by(kept)
        said = msgspec.Raw(message(kept.done, result.request_id or "", model))
        return ResultLine(custom_id=result.custom_id, result=Succeeded(said), ignored=ignored or msgspec.UNSET)
    if not_run := NOT_RUN.get(result.error_code):
        return ResultLine(custom_id=result.custom_id, result=not_run)
    error = error_body(result.error_code or "", result.error_message or "")
    return ResultLine(custom_id=result.custom_id, result=Errored(failure(error, result.request_id)))
