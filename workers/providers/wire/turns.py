"""Joins consecutive messages of one side, for models that refuse them."""

from __future__ import annotations

import msgspec

from shared.chat import Message, Part, TextPart

SIDES = {"user", "assistant"}


def in_turn(messages: list[Message]) -> list[Message]:
    """The messages with consecutive ones of one side joined: as one text with a paragraph each, or as a list of parts
    if there are images.
    """
    talk: list[Message] = []
    for message in messages:
        last = talk[-1] if talk else None
        if last and message.role in SIDES and last.role == message.role and not last.tool_calls:
            said = _joined(last, message)
            thoughts = (*last.thoughts, *message.thoughts)
            talk[-1] = msgspec.structs.replace(message, content=said, thoughts=thoughts)
        else:
            talk.append(message)
    return talk


def _joined(first: Message, second: Message) -> str | list[Part]:
    if first.images() or second.images():
        return [*_parts(first), *_parts(second)]
    return "\n\n".join(text for text in (first.text(), second.text()) if text.strip())


def _parts(message: Message) -> list[Part]:
    return [TextPart(message.content)] if isinstance(message.content, str) else list(message.content)
