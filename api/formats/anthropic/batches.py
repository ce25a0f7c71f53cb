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
from shared.batches.batches import Batch, Result, results_kept_until, unpack_ask
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
    """The requests, 100,000 at most unless the operator says otherwise."""


class MessageBatchCounts(msgspec.Struct, frozen=True, kw_only=True):
    """The batch's requests, by how they ended."""

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
    """Its requests, by how they ended."""
    created_at: datetime
    """When the batch was made."""
    expires_at: datetime
    """When the batch ends whatever has run."""
    ended_at: datetime | None
    """When its last request ended; null before."""
    cancel_initiated_at: datetime | None
    """When it was cancelled; null where it was not."""
    archived_at: datetime | None
    """When its results were deleted; null while they are kept."""
    results_url: str | None
    """Where the results are; null until the batch has ended."""
    paused_for: str | None
    """Why no more requests are begun, `insufficient_credit` or `key_limit`; null while they are."""
    reason: str | None
    """Why the service itself cancelled it, `key_revoked` or `key_expired`; else null."""
    charged_usd: UsdText
    """What was charged for it so far."""


class MessageBatches(msgspec.Struct, frozen=True, kw_only=True):
    """A page of the account's batches, newest first."""

    data: list[MessageBatch]
    """The batches of this page."""
    has_more: bool
    """Whether there are more batches in the direction that was asked for."""
    first_id: str | None
    """The id of the first batch on the page; null on an empty page."""
    last_id: str | None
    """The id of the last batch on the page; null on an empty page."""


class DeletedMessageBatch(msgspec.Struct, frozen=True, kw_only=True):
    """A batch was deleted."""

    id: str
    """The id of the deleted batch."""
    type: Literal["message_batch_deleted"] = "message_batch_deleted"


class Succeeded(msgspec.Struct, frozen=True, tag="succeeded"):
    """The request has an answer."""

    message: msgspec.Raw
    """The message, as `POST /v1/messages` answers."""


class Errored(msgspec.Struct, frozen=True, tag="errored"):
    """The request ended with an error."""

    error: AnthropicFailure
    """The error, as `POST /v1/messages` says it."""


class Canceled(msgspec.Struct, frozen=True, tag="canceled"):
    """The batch was cancelled before the request ran."""


class Expired(msgspec.Struct, frozen=True, tag="expired"):
    """The batch's time was over before the request ran."""


class ResultLine(msgspec.Struct, frozen=True, kw_only=True):
    """A line of a batch's results."""

    custom_id: str | None
    """The caller's own id of the request."""
    result: Succeeded | Errored | Canceled | Expired
    """The answer, the error, or that the request was not run."""
    ignored: tuple[str, ...] | msgspec.UnsetType = msgspec.UNSET
    """Fields of `params` that were left out; left out where there are none."""


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
    """The batch's own id; for a text that is no such id an empty one, which no batch has."""
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
