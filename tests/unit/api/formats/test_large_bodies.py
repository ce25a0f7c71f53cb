"""A body takes time by its size, however odd it is: a front door has one thread for everybody's.

Nothing is timed here: when the time grows with the square of the size, these run into the limit that every test has.
"""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from api.formats.anthropic.chat import parse_message
from api.formats.openai.chat import parse_completion

BODY: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "x"}]}
MESSAGES: dict[str, Any] = {**BODY, "max_tokens": 5}
MANY = 200_000


def test_unknown_fields_beside_tools_that_a_vendor_runs() -> None:
    body = {**MESSAGES, "tools": [{"type": "x", "y": 1}] * MANY, **{f"u{number}": 1 for number in range(MANY)}}
    ignored = parse_message(msgspec.json.encode(body)).ignored
    assert (len(ignored), ignored[0], ignored[-1]) == (MANY + 1, "u0", "tools[].x")


def test_a_choice_of_very_many_tools() -> None:
    tools = [{"type": "function", "function": {"name": f"t{number}"}} for number in range(4_096)]
    choice = {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [tools[-1]] * MANY}}
    asked = parse_completion(msgspec.json.encode({**BODY, "tools": tools, "tool_choice": choice}))
    assert [tool.name for tool in asked.tools.offered] == ["t4095"]


@pytest.mark.parametrize("calls", [0, 1])
def test_instructions_between_a_long_turn_and_its_results(calls: int) -> None:
    use = {"type": "tool_use", "id": "a", "name": "b", "input": {}}
    said = [{"type": "text", "text": "x"}] * MANY + [use] * calls
    result = {"type": "tool_result", "tool_use_id": "a", "content": "r"}
    after = [{"role": "user", "content": [result] if calls else "x"}]
    instructions = [{"role": "system", "content": "x"}] * MANY
    turns = [*BODY["messages"], {"role": "assistant", "content": said}, *instructions, *after]
    asked = parse_message(msgspec.json.encode({**MESSAGES, "messages": turns}))
    assert len(asked.messages) == (MANY + 3 if calls else 4)
