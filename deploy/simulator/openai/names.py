"""The rules of OpenAI and DeepSeek for the length of lists of tools, and for names and ids.

Sources: both API references, and the errors as users report them (2024-2026).
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from deploy.simulator.exchange import Refusal
from deploy.simulator.openai.body import ChatRequest, Message
from deploy.simulator.openai.values import INVALID

TOOLS_MAX, NAME_LENGTH_MAX, ID_LENGTH_MAX = 128, 64, 40
_NAME = re.compile(r"[a-zA-Z0-9_-]+")


def check_count(body: ChatRequest) -> None:
    """Raise `Refusal` for too many tools, or none."""
    count = len(body.tools or ())
    if body.tools is not None and not count:
        words = "empty array. Expected an array with minimum length 1, but got an empty array instead."
        raise Refusal(400, "empty_array", f"Invalid 'tools': {words}", INVALID, "tools")
    if count > TOOLS_MAX:
        words = f"Expected an array with maximum length {TOOLS_MAX}, but got an array with length {count} instead."
        raise Refusal(400, "array_above_max_length", f"Invalid 'tools': array too long. {words}", INVALID, "tools")


def check_names(body: ChatRequest) -> None:
    """Raise `Refusal` for a name of a tool, of a call or of a schema that is too long or has other characters."""
    names = [tool.function.name for tool in body.tools or ()]
    if len(set(names)) < len(names):
        raise Refusal(400, None, "Tool names must be unique.", INVALID, "tools")
    for where, name in _names(body):
        if len(name) > NAME_LENGTH_MAX:
            raise _too_long(where, name, NAME_LENGTH_MAX)
        if not _NAME.fullmatch(name):
            words = "string does not match pattern. Expected a string that matches the pattern '^[a-zA-Z0-9_-]+$'."
            raise Refusal(400, "invalid_value", f"Invalid '{where}': {words}", INVALID, where)


def check_ids(messages: list[Message]) -> None:
    """Raise `Refusal` for an id of a call that is empty or too long."""
    for i, message in enumerate(messages):
        ids = {f"messages[{i}].tool_calls[{j}].id": call.id for j, call in enumerate(message.tool_calls or ())}
        ids |= {f"messages[{i}].tool_call_id": message.tool_call_id or ""}
        for where, one in ids.items():
            if not one and not where.endswith("tool_call_id"):
                raise _empty(where)
            if len(one) > ID_LENGTH_MAX:
                raise _too_long(where, one, ID_LENGTH_MAX)


def _names(body: ChatRequest) -> Iterator[tuple[str, str]]:
    for i, tool in enumerate(body.tools or ()):
        yield f"tools[{i}].function.name", tool.function.name
    for i, message in enumerate(body.messages):
        for j, call in enumerate(message.tool_calls or ()):
            yield f"messages[{i}].tool_calls[{j}].function.name", call.function.name
    if body.response_format and body.response_format.json_schema:
        yield "response_format.json_schema.name", body.response_format.json_schema.name


def _empty(where: str) -> Refusal:
    words = "empty string. Expected a string with minimum length 1, but got an empty string instead."
    return Refusal(400, "empty_string", f"Invalid '{where}': {words}", INVALID, where)


def _too_long(where: str, text: str, most: int) -> Refusal:
    words = f"Expected a string with maximum length {most}, but got a string with length {len(text)} instead."
    return Refusal(400, "string_above_max_length", f"Invalid '{where}': string too long. {words}", INVALID, where)
