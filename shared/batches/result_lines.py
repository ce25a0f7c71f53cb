"""A line of a batch's results in the native form, for downloads and exports."""

from __future__ import annotations

from typing import Any

from shared.batches.batches import unpack_ask
from shared.batches.results import Result
from shared.job import unpack_answer
from shared.json_lines import json_line
from shared.money import usd_number


def result_line(result: Result) -> bytes:
    """`{"custom_id", "status": 1, "result": {…}}` or `{"custom_id", "status": 0, "error": {…}}`, and a newline."""
    line: dict[str, Any] = {"custom_id": result.custom_id}
    if result.answer is None or result.asked is None:
        error = {"code": result.error_code, "message": result.error_message, "request_id": result.request_id}
        return json_line(line | {"status": 0, "error": error}) + b"\n"
    return json_line(line | {"status": 1, "result": _answer(result.answer, result.asked)}) + b"\n"


def _answer(answer: bytes, asked: bytes) -> dict[str, Any]:
    """The result in the form of `POST /api/endpoint`, with `tool_calls` if there are any; only lines of other APIs can
    ask for these.
    """
    kept, ask = unpack_answer(answer), unpack_ask(asked)
    done, (model, _) = kept.done, ask.answered_by(kept)
    result = {
        "response": done.text or "",
        "tokens_input": done.usage.input,
        "tokens_output": done.usage.output,
        "price": usd_number(done.charged_nano),
        "model": model,
        "request": [{"role": message.role, "content": message.content} for message in ask.messages],
    }
    return result | ({"tool_calls": done.calls} if done.calls else {})
