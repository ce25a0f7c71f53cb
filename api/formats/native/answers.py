"""The native API's answers and errors, and the records and events of its streams."""

from __future__ import annotations

import math
from typing import Generic, Literal, TypeVar

import msgspec

from shared.errors import ErrorBody
from shared.job import Done, Failed
from shared.json_lines import json_line
from shared.money import UsdNumber, UsdText, usd_number

RECORD_SEPARATOR = "\x1e"
CODE_AT = ("error", "code")
"""The place of the code in the body."""
json_bytes = msgspec.json.Encoder().encode
T = TypeVar("T")


class Success(msgspec.Struct, Generic[T], frozen=True, kw_only=True):
    """The form of every JSON answer of the native API."""

    status: Literal[1]
    """Always 1: the request succeeded."""
    result: T
    """The answer itself."""


class NativeError(msgspec.Struct, frozen=True, kw_only=True):
    """A description of the error, and of what to do about it."""

    code: str
    """The kind of the error, one of the codes in `/docs/errors`."""
    message: str
    """A sentence for people that says what went wrong and what to do."""
    request_id: str
    """The request's id, the same as in `x-request-id`."""
    needed_usd: UsdText | msgspec.UnsetType = msgspec.UNSET
    """The USD that must be available for the request; only with `insufficient_credit`."""
    available_usd: UsdText | msgspec.UnsetType = msgspec.UNSET
    """The USD that the account has available; only with `insufficient_credit`."""
    charged_usd: UsdText | msgspec.UnsetType = msgspec.UNSET
    """The USD charged for the failed request; left out if nothing was charged."""


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """The form of every error of the native API."""

    status: Literal[0]
    """Always 0: the request failed."""
    error: NativeError
    """A description of the error, and of what to do about it."""


ERROR = Failure


class Stats(msgspec.Struct, frozen=True, kw_only=True):
    """Billed tokens and the price; with `models` also the model that served."""

    tokens_input: int
    tokens_output: int
    price: UsdNumber
    model: str | msgspec.UnsetType = msgspec.UNSET


class StreamEnd(Stats, frozen=True, kw_only=True):
    """The data of the event `done`."""

    finish_reason: str


def stats(done: Done, model: str | None = None) -> Stats:
    """Tokens and price of an answer; with `model` also the model that served."""
    return Stats(
        tokens_input=done.usage.input,
        tokens_output=done.usage.output,
        price=usd_number(done.charged_nano),
        model=model or msgspec.UNSET,
    )


def raw_text(text: str) -> bytes:
    """The text as a raw stream sends it: without record separators, which are reserved for the record after the
    text.
    """
    return text.replace(RECORD_SEPARATOR, "").encode()


def stats_record(done: Done, model: str | None = None) -> bytes:
    """The record after the text of a stream with `stats`."""
    return RECORD_SEPARATOR.encode() + json_line(stats(done, model)) + b"\n"


def error_record(failed: Failed, request_id: str) -> bytes:
    """The record that ends a stream which failed after its first byte."""
    return RECORD_SEPARATOR.encode() + json_line({"error": _error(failed.as_error().body(), request_id)}) + b"\n"


def error_json(error: ErrorBody, request_id: str) -> bytes:
    """The body of an error: `{"status": 0, "error": {"code", "message", "request_id", …}}`."""
    return json_bytes(Failure(status=0, error=_error(error, request_id)))


def sse_event(sequence: int | None, name: str, data: object) -> bytes:
    """One server-sent event. A stream cannot be resumed after an event without a number."""
    number = b"" if sequence is None else b"id: %d\n" % sequence
    return b"%sevent: %s\ndata: %s\n\n" % (number, name.encode(), json_line(data))


def sse_error(sequence: int, error: ErrorBody, request_id: str) -> bytes:
    """The server-sent event of a failure."""
    return sse_event(sequence, "error", {"error": _error(error, request_id)})


def error_headers(error: ErrorBody) -> dict[str, str]:
    """`Retry-After` in whole seconds, if a later try can succeed."""
    return {} if error.retry_after_s is None else {"Retry-After": str(max(1, math.ceil(error.retry_after_s)))}


def result_json(result: object) -> bytes:
    """The body of an answer: `{"status": 1, "result": …}`."""
    return json_bytes(Success(status=1, result=result))


def _error(error: ErrorBody, request_id: str) -> NativeError:
    details = error.details or {}
    return NativeError(
        code=error.code,
        message=error.message,
        request_id=request_id,
        needed_usd=details.get("needed_usd", msgspec.UNSET),
        available_usd=details.get("available_usd", msgspec.UNSET),
        charged_usd=details.get("charged_usd", msgspec.UNSET),
    )
