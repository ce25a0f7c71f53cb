"""A body takes time by its size, however odd it is: a front door has one thread for everybody's.

Nothing is timed here: when the time grows with the square of the size, these run into the limit that every test has.
"""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from api.formats.anthropic.chat import parse_message
from api.formats.openai.chat import parse_completion
from api.formats.schemas import is_closed
from shared.chat import TOOLS_CEILING

BODY: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "x"}]}
MESSAGES: dict[str, Any] = {**BODY, "max_tokens": 5}
MANY = 40_000


def test_unknown_fields_beside_tools_that_a_vendor_runs() -> None:
    tools = [{"type": f"x{number}", "y": 1} for number in range(TOOLS_CEILING)]
    body = {**MESSAGES, "tools": tools, **{f"u{number}": 1 for number in range(900)}}
    body["messages"] = [{"role": "user", "content": "x", "mood": number} for number in range(MANY)]
    ignored = parse_message(msgspec.json.encode(body)).ignored
    assert (len(ignored), ignored[0], ignored[-1]) == (
        TOOLS_CEILING + 901,
        "messages[].mood",
        f"tools[].x{TOOLS_CEILING - 1}",
    )


def test_a_choice_of_very_many_tools() -> None:
    tools = [{"type": "function", "function": {"name": f"t{number}"}} for number in range(TOOLS_CEILING)]
    choice = {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [tools[-1]] * TOOLS_CEILING}}
    asked = parse_completion(msgspec.json.encode({**BODY, "tools": tools, "tool_choice": choice}))
    assert [tool.name for tool in asked.tools.offered] == ["t4095"]


@pytest.mark.parametrize("calls", [0, 1])
def test_instructions_between_a_long_turn_and_its_results(calls: int) -> None:
    use = {"type": "tool_use", "id": "a", "name": "b", "input": {}}
    said = [{"type": "text", "text": "x"}] * 2 * MANY + [use] * calls
    result = {"type": "tool_result", "tool_use_id": "a", "content": "r"}
    after = [{"role": "user", "content": [result] if calls else "x"}]
    instructions = [{"role": "system", "content": "x"}] * MANY
    turns = [*BODY["messages"], {"role": "assistant", "content": said}, *instructions, *after]
    asked = parse_message(msgspec.json.encode({**MESSAGES, "messages": turns}))
    assert len(asked.messages) == (MANY + 3 if calls else 4)


def test_objects_of_a_schema_that_are_required_by_each_other() -> None:
    """Only names are required; to write the rest out at every level would take the square of the depth."""
    required: Any = ["x"] * MANY
    for _ in range(60):
        required = [{"type": "object", "additionalProperties": False, "properties": {}, "required": required}]
    schema = {"type": "object", "additionalProperties": False, "properties": {}, "required": required}
    assert is_closed(schema)
    assert not is_closed(schema | {"properties": {"x": {}}})
