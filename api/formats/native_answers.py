"""The native API's answers, errors and records of a stream."""

from __future__ import annotations

import math
from typing import Any

import msgspec

from shared.errors import ErrorBody
from shared.job import Done, Failed
from shared.money import Usage, nano_to_usd

RECORD_SEPARATOR = "\x1e"
json_bytes = msgspec.json.Encoder().encode


def stats(usage: Usage, charged_nano: int) -> dict[str, Any]:
    """Billed tokens and the price, an exact JSON number in USD."""
    return {"tokens_input": usage.input, "tokens_output": usage.output, "price": number_in_usd(charged_nano)}


def number_in_usd(nano: int) -> msgspec.Raw:
    """An exact JSON number in USD."""
    return msgspec.Raw(nano_to_usd(nano).encode())


def raw_text(text: str) -> bytes:
    """Text of a raw stream: the record separator is ours there, so it is removed from the model's text."""
    return text.replace(RECORD_SEPARATOR, "").encode()


def stats_record(done: Done) -> bytes:
    """The record after the text of a stream that asked for `stats`."""
    return RECORD_SEPARATOR.encode() + json_bytes(stats(done.usage, done.charged_nano)) + b"\n"


def error_record(failed: Failed, request_id: str) -> bytes:
    """The record that ends a stream which failed after its first byte."""
    return RECORD_SEPARATOR.encode() + json_bytes({"error": _error(failed.error, request_id)}) + b"\n"


def error_json(error: ErrorBody, request_id: str) -> bytes:
    """`{"status": 0, "error": {"code", "message", "request_id", …}}`."""
    return json_bytes({"status": 0, "error": _error(error, request_id)})


def sse_event(sequence: int, name: str, data: dict[str, Any]) -> bytes:
    """One server-sent event."""
    return b"id: %d\nevent: %s\ndata: %s\n\n" % (sequence, name.encode(), json_bytes(data))


def sse_error(sequence: int, error: ErrorBody, request_id: str) -> bytes:
    """The server-sent event of a failure."""
    return sse_event(sequence, "error", {"error": _error(error, request_id)})


def error_headers(error: ErrorBody) -> dict[str, str]:
    """`Retry-After` in whole seconds, where waiting helps."""
    return {} if error.retry_after_s is None else {"Retry-After": str(max(1, math.ceil(error.retry_after_s)))}


def result_json(result: object) -> bytes:
    """`{"status": 1, "result": …}`."""
    return json_bytes({"status": 1, "result": result})


def _error(error: ErrorBody, request_id: str) -> dict[str, str]:
    return {"code": error.code, "message": error.message, "request_id": request_id, **(error.details or {})}
