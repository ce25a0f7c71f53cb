"""OpenAI's batches: their body, how a batch is shown, and the lines of output and error files."""

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
from shared.batches.batches import Batch, unpack_ask
from shared.batches.files import LineError
from shared.batches.results import Result
from shared.errors import error_body
from shared.job import unpack_answer
from shared.json_lines import json_line
from shared.money import UsdText, nano_to_usd

NEVER_RUN = {"expired": "batch_expired", "cancelled": "batch_cancelled"}
"""OpenAI's codes for lines that expired or were cancelled, by the codes here."""

Status = Literal["validating", "failed", "in_progress", "finalizing", "completed", "expired", "cancelling", "cancelled"]


class BatchBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The body of `POST /v1/batches`."""

    input_file_id: str
    """The id of a file with the purpose `batch`."""
    endpoint: Endpoint
    """The endpoint that the lines are for, the same as their `url`."""
    completion_window: Literal["24h"]
    """Always `24h`."""
    metadata: Labels | None = None
    """Up to 16 labels (names of up to 64, values of up to 512 characters), which are shown with the batch."""
    output_expires_after: None = None
    """Only null: the service decides how long results are kept."""

    def __post_init__(self) -> None:
        """Raises `ValueError`, which msgspec reports as an error of the body."""
        refuse_nul(self.metadata)


class RequestCounts(msgspec.Struct, frozen=True):
    """The batch's lines, counted by their outcome."""

    total: int
    """All lines that are not blank, those that were not understood among them."""
    completed: int
    """Lines with an answer."""
    failed: int
    """Lines that ended in any other way: with an error, cancelled, expired, or not understood."""


class BatchError(msgspec.Struct, frozen=True):
    """A line of the input that was not understood."""

    code: str
    """The code of the error, one of `/docs/errors`."""
    line: int
    """The number of the line, counted from 1."""
    message: str
    """A sentence that says what is wrong with the line."""
    param: None = None
    """Always null."""


class BatchErrors(msgspec.Struct, frozen=True):
    """The first lines that were not understood; the error file has all of them."""

    data: list[BatchError]
    """The errors, in the order of the lines."""
    object: Literal["list"] = "list"


class BatchObject(msgspec.Struct, frozen=True, kw_only=True):
    """A batch in OpenAI's form, with `paused_for`, `reason`, `charged_usd` and `saved_usd` besides."""

    id: str
    """The batch's id, `batch_…`."""
    object: Literal["batch"] = "batch"
    endpoint: str
    """The endpoint that the batch's lines are for."""
    errors: BatchErrors | None
    """The first lines that were not understood; null if all lines were."""
    input_file_id: str
    """The id of the file with the batch's lines."""
    completion_window: Literal["24h"] = "24h"
    status: Status
    """The state of the batch; a paused batch is `in_progress`. `validating` is not used now."""
    output_file_id: str | None
    """The id of the file with the answers; null until the batch has ended, and if no line has an answer."""
    error_file_id: str | None
    """The id of the file with the lines that have no answer; null until the batch has ended, and if every line has an
    answer.
    """
    created_at: int
    """The time at which the batch was created, in Unix seconds."""
    in_progress_at: int | None
    """The time at which the batch's lines could first run, in Unix seconds, which is the time of its creation; null if
    none of its lines can run.
    """
    expires_at: int
    """The time at which the batch ends, even if some of its lines have not run, in Unix seconds."""
    finalizing_at: int | None
    """The time at which the last line had run or the batch expired, in Unix seconds; null before, and if the batch is
    cancelled."""
    completed_at: int | None
    """The time at which the batch ended as `completed`, in Unix seconds; null otherwise."""
    failed_at: int | None
    """The time at which the batch ended as `failed`, in Unix seconds; null otherwise."""
    expired_at: int | None
    """The time at which the batch ended as `expired`, in Unix seconds; null otherwise."""
    cancelling_at: int | None
    """The time at which the batch was cancelled, in Unix seconds; null if it was not."""
    cancelled_at: int | None
    """The time at which the batch ended as `cancelled`, in Unix seconds; null otherwise."""
    request_counts: RequestCounts
    """The batch's lines, counted by their outcome."""
    metadata: dict[str, str] | None
    """The labels that the batch was created with; null if there were none."""
    paused_for: str | None
    """The reason for which no more lines are started, `insufficient_credit` or `key_limit`; null while the batch is not
    paused.
    """
    reason: str | None
    """The reason for which the service itself cancelled the batch, `key_revoked` or `key_expired`; null otherwise."""
    charged_usd: UsdText
    """The USD charged for the batch so far, as a decimal string."""
    saved_usd: UsdText
    """The USD that lines at the service tier `flex` have saved so far, compared with the tier `default`, as a decimal
    string.
    """


class BatchList(msgspec.Struct, frozen=True, kw_only=True):
    """A page of the account's batches."""

    object: Literal["list"] = "list"
    data: list[BatchObject]
    """The batches of this page, newest first."""
    first_id: str | None
    """The id of the first batch on the page; null on an empty page."""
    last_id: str | None
    """The id of the last batch on the page, for `after`; null on an empty page."""
    has_more: bool
    """True if there are older batches behind this page."""


class Ran(msgspec.Struct, frozen=True):
    """The answer or the error of a line's request."""

    status_code: int
    """The HTTP status that the request would have had by itself."""
    request_id: str
    """The request's id, for `GET /api/requests/{id}`."""
    body: msgspec.Raw
    """The answer or the error, in the form of the batch's endpoint."""
    ignored: tuple[str, ...] | msgspec.UnsetType = msgspec.UNSET
    """Fields of the line that were left out; this field is missing if there are none."""


class LineFailure(msgspec.Struct, frozen=True):
    """The reason for which a line has no answer."""

    code: str
    """`batch_expired`, `batch_cancelled`, or a code of `/docs/errors`."""
    message: str
    """A sentence that says what went wrong and what to do."""


class OutputLine(msgspec.Struct, frozen=True):
    """A line of a batch's output file or error file."""

    id: str
    """The id of the line within its batch."""
    custom_id: str | None
    """Your own id of the line; null if it could not be read."""
    response: Ran | None
    """The HTTP answer to the line's request; null for a line that was never run."""
    error: LineFailure | None
    """The reason for which there is no answer; null if there is one."""


def batch_object(batch: Batch, bad: list[LineError]) -> BatchObject:
    """The batch as OpenAI's clients see it; `bad` are the first lines that were not understood."""
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
    """True if the line belongs to the output file; otherwise it belongs to the error file."""
    return result.answer is not None and result.asked is not None


def output_line(batch: Batch, result: Result) -> bytes:
    """One line of the file, with its line end."""
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
        case "/v1/responses" if ask.repeated:
            body = response_json(ask.repeated, request_id, model, "succeeded", done, None)
        case _:
            body = completion(done, request_id, model)
    return Ran(200, request_id, msgspec.Raw(body), ignored or msgspec.UNSET)


def _refused(batch: Batch, result: Result) -> Ran | None:
    """The error as the API would have said it for a single request; None for a line that was not run."""
    if result.request_id is None or result.error_code in NEVER_RUN:
        return None
    error = error_body(result.error_code or "", result.error_message or "")
    surface = anthropic_errors if batch.endpoint == "/v1/messages" else openai_errors
    return Ran(error.status, result.request_id, msgspec.Raw(surface.error_json(error, result.request_id)))


def _failure(result: Result) -> LineFailure:
    code = result.error_code or "internal_error"
    return LineFailure(NEVER_RUN.get(code, code), result.error_message or "")
