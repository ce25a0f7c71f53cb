"""Anthropic's turns as the project's own messages: tool results are messages of their own there, and come before the rest."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec

from api.formats.anthropic.body import (
    AssistantTurn,
    ImageBlock,
    TextBlock,
    ToolResultBlock,
    ToolUseBlock,
    Turn,
    UserTurn,
)
from shared.chat import ImagePart, ImageUrl, Message, Part, TextPart, ToolCall
from shared.errors import InvalidRequest


def neutral_messages(system: str | list[TextBlock] | None, turns: Sequence[Turn]) -> list[Message]:
    """All messages, the system prompt first. Raises `InvalidRequest` where a tool's call and its result do not meet."""
    check_results(turns)
    instructions = _content(system or "")
    messages = [Message("system", instructions)] if instructions else []
    for turn in turns:
        messages += _from_user(turn) if isinstance(turn, UserTurn) else [_from_assistant(turn)]
    return messages


def check_results(turns: Sequence[Turn]) -> None:
    """Every `tool_use` is answered in the very next turn, once, and nothing else is. Raises `InvalidRequest`."""
    asked: set[str] = set()
    for position, turn in enumerate(turns):
        answered = _results(turn)
        for call_id in answered:
            if call_id not in asked:
                raise InvalidRequest(
                    f"`messages[{position}].content`: the tool_result of {call_id} answers no open tool_use of the "
                    f"message before it."
                )
            asked.remove(call_id)
        _refuse_unanswered(asked, position - 1)
        asked = _calls(turn, position)
    _refuse_unanswered(asked, len(turns) - 1)


def _refuse_unanswered(asked: set[str], position: int) -> None:
    if asked:
        raise InvalidRequest(
            f"`messages[{position}].content`: the tool_use {', '.join(sorted(asked))} has no tool_result in the next message."
        )


def _results(turn: Turn) -> list[str]:
    if isinstance(turn, AssistantTurn) or isinstance(turn.content, str):
        return []
    return [block.tool_use_id for block in turn.content if isinstance(block, ToolResultBlock)]


def _calls(turn: Turn, position: int) -> set[str]:
    if isinstance(turn, UserTurn) or isinstance(turn.content, str):
        return set()
    ids = [block.id for block in turn.content if isinstance(block, ToolUseBlock)]
    if len(set(ids)) != len(ids):
        raise InvalidRequest(f"`messages[{position}].content`: two tool_use blocks have the same id.")
    return set(ids)


def _from_user(turn: UserTurn) -> Iterator[Message]:
    if isinstance(turn.content, str):
        yield Message("user", turn.content)
        return
    said: list[Part] = []
    for block in turn.content:
        if isinstance(block, ToolResultBlock):
            yield Message("tool", _content(block.content or ""), tool_call_id=block.tool_use_id)
        else:
            said.append(_part(block))
    if said:
        yield Message("user", said)


def _from_assistant(turn: AssistantTurn) -> Message:
    if isinstance(turn.content, str):
        return Message("assistant", turn.content)
    said = [block for block in turn.content if isinstance(block, TextBlock)]
    calls = (
        ToolCall(block.id, block.name, msgspec.json.encode(block.input).decode())
        for block in turn.content
        if isinstance(block, ToolUseBlock)
    )
    return Message("assistant", _content(said), tuple(calls))


def _content(content: str | list[TextBlock]) -> str | list[Part]:
    """Text blocks as parts; one or none as a plain string, which every vendor takes from everybody."""
    if isinstance(content, str):
        return content
    if len(content) <= 1:
        return "".join(block.text for block in content)
    return [TextPart(block.text) for block in content]


def _part(block: TextBlock | ImageBlock) -> Part:
    if isinstance(block, TextBlock):
        return TextPart(block.text)
    return ImagePart(ImageUrl(f"data:{block.source.media_type};base64,{block.source.data}"))
