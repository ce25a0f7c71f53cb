"""Anthropic's message batches: how one is shown, and the lines of its results."""

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
"""A batch has at most so many requests, unless `BATCH_LINES_MAX` says otherwise."""
OURS, THEIRS = "batch_", "msgbatch_"
_THEIRS = re.compile(r"msgbatch_([0-9a-z]{26})")
Status = Literal["in_progress", "canceling", "ended"]


class MessageBatchEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One request: what `POST /v1/messages` takes, but for `stream`, and an id of its own to find its result by."""

    custom_id: Annotated[str, msgspec.Meta(min_length=1, max_length=CUSTOM_ID_LENGTH_MAX)]
    params: MessagesRequest


class MessageBatchBody(msgspec.Struct, frozen=True, kw_only=True):
    """The body of `POST /v1/messages/batches`. It is never decoded as a whole: `api/batches/requests.py` splits it as it
    arrives.
    """

    requests: Annotated[list[MessageBatchEntry], msgspec.Meta(min_length=1, max_length=REQUESTS_MAX)]


class MessageBatchCounts(msgspec.Struct, frozen=True, kw_only=True):
    """Of requests, together all of the batch. Those that have ended are counted while others are processed."""

    processing: int
    succeeded: int
    errored: int
    canceled: int
    expired: int


class MessageBatch(msgspec.Struct, frozen=True, kw_only=True):
    """A batch. `results_url` is null until it has ended. Besides Anthropic's fields: `charged_usd` so far, `paused_for`
    (`insufficient_credit`, `key_limit`) when it waits for something, `reason` (`key_revoked`, `key_expired`) when the service
    itself cancelled it.
    """

    id: str
    type: Literal["message_batch"] = "message_batch"
    processing_status: Status
    request_counts: MessageBatchCounts
    created_at: datetime
    expires_at: datetime
    ended_at: datetime | None
    cancel_initiated_at: datetime | None
    archived_at: datetime | None
    results_url: str | None
    paused_for: str | None
    reason: str | None
    charged_usd: UsdText


class MessageBatches(msgspec.Struct, frozen=True, kw_only=True):
    """A page, newest first. `has_more` says whether more batches follow in the direction that was asked for."""

    data: list[MessageBatch]
    has_more: bool
    first_id: str | None
    last_id: str | None


class DeletedMessageBatch(msgspec.Struct, frozen=True, kw_only=True):
    """It is there no longer."""

    id: str
    type: Literal["message_batch_deleted"] = "message_batch_deleted"


class Succeeded(msgspec.Struct, frozen=True, tag="succeeded"):
    """The message, as `POST /v1/messages` answers."""

    message: msgspec.Raw


class Errored(msgspec.Struct, frozen=True, tag="errored"):
    """The error, as `POST /v1/messages` says it."""

    error: AnthropicFailure


class Canceled(msgspec.Struct, frozen=True, tag="canceled"):
    """The batch was cancelled before the request ran."""


class Expired(msgspec.Struct, frozen=True, tag="expired"):
    """The batch's time was over before the request ran."""


class ResultLine(msgspec.Struct, frozen=True, kw_only=True):
    """A line of the results. `ignored` are the fields of its params that were left out."""

    custom_id: str | None
    result: Succeeded | Errored | Canceled | Expired
    ignored: tuple[str, ...] | msgspec.UnsetType = msgspec.UNSET


NOT_RUN: dict[str | None, Canceled | Expired] = {"cancelled": Canceled(), "expired": Expired()}


def parse_params(params: bytes) -> Asked:
    """What one request of a batch asks for. Raises `InvalidRequest` that names the field."""
    asked = parse_message(params)
    if asked.stream:
        raise InvalidRequest("`stream` is not possible in a batch: leave it out.")
    return asked


def message_batch_id(batch_id: str) -> str:
    """`msgbatch_` and the 26 characters of the batch's id."""
    return THEIRS + batch_id.removeprefix(OURS)


def batch_id_of(message_batch: str) -> str:
    """The other way round; no batch has what comes of another text."""
    found = _THEIRS.fullmatch(message_batch)
    return OURS + found[1] if found else ""


def message_batch(batch: Batch, results_at: str, days_kept: int) -> MessageBatch:
    """As Anthropic's clients see it; `results_at` is what the addresses of results begin with, up to the id."""
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
    """One line with its end."""
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
