"""What a caller makes of the bytes it received, in each of the three forms."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, NamedTuple

from tests.faults.clients import Asked

RECORD_SEPARATOR = b"\x1e"


class Reading(NamedTuple):
    """`text`: the model's words as far as they came. `finished`: the answer says that it is whole. `error`: the code that
    the caller was shown. `flaws`: what should not look like this, whatever happened.
    """

    text: bytes = b""
    finished: bool = False
    error: str | None = None
    flaws: tuple[str, ...] = ()


def read(asked: Asked) -> Reading:
    """Read what came; never fails."""
    if asked.status is None:
        return Reading()
    if asked.status != 200:
        return _refusal(asked)
    match asked.question.form:
        case "raw":
            return _raw(asked)
        case "sse":
            return _events(asked)
        case "json":
            return _json(asked)


def _refusal(asked: Asked) -> Reading:
    try:
        error = json.loads(asked.received)["error"]
        code, request_id = str(error["code"]), error["request_id"]
    except (ValueError, KeyError, TypeError):
        return Reading(flaws=(f"{asked.status} without an error object",))
    return Reading(error=code, flaws=() if request_id == asked.request_id else ("another request id in the error",))


def _raw(asked: Asked) -> Reading:
    text, separator, record = asked.received.partition(RECORD_SEPARATOR)
    if not separator:
        return Reading(text, finished=asked.ending == "complete")
    code = _record_code(record)
    flaws = [] if code else ["a record that is no error"]
    if asked.ending == "complete":
        flaws.append("a failed stream that ends tidily")
    return Reading(text, error=code, flaws=tuple(flaws))


def _record_code(record: bytes) -> str | None:
    try:
        return str(json.loads(record)["error"]["code"]) if record.endswith(b"\n") else None
    except (ValueError, KeyError, TypeError):
        return None


def _events(asked: Asked) -> Reading:
    text, error, finished, numbers = "", None, False, []
    for number, name, data in _parse_events(asked.received):
        numbers.append(number)
        match name:
            case "chunk":
                text += data["text"]
            case "done":
                finished = True
            case "error":
                error = str(data["error"]["code"])
    flaws = [] if numbers == list(range(len(numbers))) else [f"events are numbered {numbers}"]
    if asked.ending == "complete" and not finished and not error:
        flaws.append("an event stream that ends tidily without done or error")
    return Reading(text.encode(), finished, error, tuple(flaws))


def _parse_events(received: bytes) -> Iterator[tuple[int, str, Any]]:
    for block in received.split(b"\n\n")[:-1]:
        fields = dict(line.split(b": ", 1) for line in block.split(b"\n") if not line.startswith(b":"))
        if fields:
            yield int(fields[b"id"]), fields[b"event"].decode(), json.loads(fields[b"data"])


def _json(asked: Asked) -> Reading:
    try:
        result = json.loads(asked.received)["result"]
    except (ValueError, KeyError):
        return Reading(flaws=() if asked.ending != "complete" else ("a 200 without a result",))
    return Reading(result["response"].encode(), finished=True)
