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
    """What every JSON answer of the native API looks like."""

    status: Literal[1]
    """1: it succeeded."""
    result: T
    """The answer itself."""


class NativeError(msgspec.Struct, frozen=True, kw_only=True):
    """What went wrong, and what to do about it."""

    code: str
    """The kind of the error, one of those that /docs/errors lists."""
    message: str
    """A sentence that says what is wrong and what to do about it."""
    request_id: str
    """The id of the request, as in `x-request-id`."""
    needed_usd: UsdText | msgspec.UnsetType = msgspec.UNSET
    """USD that the request may cost at most."""
    available_usd: UsdText | msgspec.UnsetType = msgspec.UNSET
    """USD that the account has left for it."""
    charged_usd: UsdText | msgspec.UnsetType = msgspec.UNSET
    """USD that were charged for the part of the answer that had come."""


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """What every error of the native API looks like."""

    status: Literal[0]
    """0: it failed."""
    error: NativeError
    """What went wrong, and what to do about it."""


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
    """Tokens and price of an answer, and the model that gave it if that is told."""
    return Stats(
        tokens_input=done.usage.input,
        tokens_output=done.usage.output,
        price=usd_number(done.charged_nano),
        model=model or msgspec.UNSET,
    )


def raw_text(text: str) -> bytes:
    """Text of a raw stream. The record separator is reserved there, so it is removed from the model's text."""
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
    """One server-sent event; without a number a stream cannot be resumed after it."""
    number = b"" if sequence is None else b"id: %d\n" % sequence
    return b"%sevent: %s\ndata: %s\n\n" % (number, name.encode(), json_line(data))


def sse_error(sequence: int, error: ErrorBody, request_id: str) -> bytes:
    """The server-sent event of a failure."""
    return sse_event(sequence, "error", {"error": _error(error, request_id)})


def error_headers(error: ErrorBody) -> dict[str, str]:
    """`Retry-After` in whole seconds, if waiting helps."""
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
