"""OpenAI's batches: what makes one, how it is shown, and the lines of its output and error files."""

from __future__ import annotations

from typing import Literal

import msgspec

from api.formats.anthropic import errors as anthropic_errors
from api.formats.anthropic.answers import message
from api.formats.openai import errors as openai_errors
from api.formats.openai.answers import completion
from api.formats.openai.files import ERRORS, OUTPUT, Endpoint, output_id, seconds_of
from api.formats.openai.labels import Labels, refuse_nul
from api.formats.responses.shown import response_json
from shared.batches.batches import Batch, Result, unpack_ask
from shared.batches.files import LineError
from shared.errors import error_body
from shared.job import unpack_answer
from shared.json_lines import json_line
from shared.money import UsdText, nano_to_usd

NEVER_RUN = {"expired": "batch_expired", "cancelled": "batch_cancelled"}
"""OpenAI's codes for lines that were not called."""

Status = Literal["validating", "failed", "in_progress", "finalizing", "completed", "expired", "cancelling", "cancelled"]


class BatchBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What `POST /v1/batches` takes. How long results are kept is not for a batch to say: `output_expires_after` is null."""

    input_file_id: str
    endpoint: Endpoint
    completion_window: Literal["24h"]
    metadata: Labels | None = None
    output_expires_after: None = None

    def __post_init__(self) -> None:
        """Raises `ValueError`, which msgspec makes a fault of the body."""
        refuse_nul(self.metadata)


class RequestCounts(msgspec.Struct, frozen=True):
    """Of lines; `failed` are all that ended in another way than with an answer."""

    total: int
    completed: int
    failed: int


class BatchError(msgspec.Struct, frozen=True):
    """A line that was not understood."""

    code: str
    line: int
    message: str
    param: None = None


class BatchErrors(msgspec.Struct, frozen=True):
    """The first of them; all are in the error file."""

    data: list[BatchError]
    object: Literal["list"] = "list"


class BatchObject(msgspec.Struct, frozen=True, kw_only=True):
    """A batch. Besides OpenAI's fields: `charged_usd` so far, `saved_usd` (what lines at the service tier `flex` would have
    cost more without), `paused_for` (`insufficient_credit`, `key_limit`) when it waits for something (it is `in_progress`
    then), `reason` (`key_revoked`, `key_expired`) when the service itself cancelled it.
    """

    id: str
    object: Literal["batch"] = "batch"
    endpoint: str
    errors: BatchErrors | None
    input_file_id: str
    completion_window: Literal["24h"] = "24h"
    status: Status
    output_file_id: str | None
    error_file_id: str | None
    created_at: int
    in_progress_at: int | None
    expires_at: int
    finalizing_at: int | None
    completed_at: int | None
    failed_at: int | None
    expired_at: int | None
    cancelling_at: int | None
    cancelled_at: int | None
    request_counts: RequestCounts
    metadata: dict[str, str] | None
    paused_for: str | None
    reason: str | None
    charged_usd: UsdText
    saved_usd: UsdText


class BatchList(msgspec.Struct, frozen=True, kw_only=True):
    """A page."""

    object: Literal["list"] = "list"
    data: list[BatchObject]
    first_id: str | None
    last_id: str | None
    has_more: bool


class Ran(msgspec.Struct, frozen=True):
    """What the line's request was answered. `ignored` are the fields of the line that were left out."""

    status_code: int
    request_id: str
    body: msgspec.Raw
    ignored: tuple[str, ...] | msgspec.UnsetType = msgspec.UNSET


class LineFailure(msgspec.Struct, frozen=True):
    """Why there is no answer."""

    code: str
    message: str


class OutputLine(msgspec.Struct, frozen=True):
    """A line of the output file, or of the error file; `response` is null for what was never called."""

    id: str
    custom_id: str | None
    response: Ran | None
    error: LineFailure | None


def batch_object(batch: Batch, bad: list[LineError]) -> BatchObject:
    """As OpenAI's clients see it; `bad` are the first lines that were not understood."""
    ended = {batch.state: seconds_of(batch.ended_at)} if batch.ended_at else {}
    errors = [BatchError(one.code, one.line, one.message) for one in bad]
    return BatchObject(
        id=batch.id,
        endpoint=batch.endpoint,
        errors=BatchErrors(errors) if errors else None,
        input_file_id=batch.file_id,
        status="in_progress" if batch.state == "paused" else batch.state,
        output_file_id=output_id(batch, OUTPUT),
        error_file_id=output_id(batch, ERRORS),
        created_at=seconds_of(batch.created_at),
        in_progress_at=seconds_of(batch.started_at) if batch.started_at and "failed" not in ended else None,
        expires_at=seconds_of(batch.expires_at),
        finalizing_at=seconds_of(batch.finalized_at) if batch.finalized_at else None,
        completed_at=ended.get("completed"),
        failed_at=ended.get("failed"),
        expired_at=ended.get("expired"),
        cancelling_at=seconds_of(batch.cancelled_at) if batch.cancelled_at else None,
        cancelled_at=ended.get("cancelled"),
        request_counts=RequestCounts(batch.total, batch.completed, batch.failed + batch.cancelled + batch.expired),
        metadata=batch.metadata,
        paused_for=batch.paused_for,
        reason=batch.reason,
        charged_usd=nano_to_usd(batch.charged_nano),
        saved_usd=nano_to_usd(batch.saved_nano),
    )


def is_output(result: Result) -> bool:
    """Which of the two files the line is in."""
    return result.answer is not None and result.asked is not None


def output_line(batch: Batch, result: Result) -> bytes:
    """One line with its end."""
    line_id = f"{batch.id}_{result.number}"
    if result.answer is None or result.asked is None:
        line = OutputLine(line_id, result.custom_id, _refused(batch, result), _failure(result))
    else:
        ran = _answered(batch, result.request_id or "", result.answer, result.asked)
        line = OutputLine(line_id, result.custom_id, ran, None)
    return json_line(line) + b"\n"


def _answered(batch: Batch, request_id: str, answer: bytes, asked: bytes) -> Ran:
    kept, ask = unpack_answer(answer), unpack_ask(asked)
    done, (model, ignored) = kept.done, ask.answered_by(kept)
    match batch.endpoint:
        case "/v1/messages":
            body = message(done, request_id, model)
        case "/v1/responses" if ask.told:
            body = response_json(ask.told, request_id, model, "succeeded", done, None)
        case _:
            body = completion(done, request_id, model)
    return Ran(200, request_id, msgspec.Raw(body), ignored or msgspec.UNSET)


def _refused(batch: Batch, result: Result) -> Ran | None:
    """The error as the API would have said it, had the line been asked by itself."""
    if result.request_id is None or result.error_code in NEVER_RUN:
        return None
    error = error_body(result.error_code or "", result.error_message or "")
    surface = anthropic_errors if batch.endpoint == "/v1/messages" else openai_errors
    return Ran(error.status, result.request_id, msgspec.Raw(surface.error_json(error, result.request_id)))


def _failure(result: Result) -> LineFailure:
    code = result.error_code or "internal_error"
    return LineFailure(NEVER_RUN.get(code, code), result.error_message or "")
