"""Messages of one side that follow each other, as one, for models that refuse them."""

from __future__ import annotations

import msgspec

from shared.chat import Message

SIDES = {"user", "assistant"}


def in_turn(messages: list[Message]) -> list[Message]:
    """The same talk with such messages as one text, a paragraph each. For models that take no images."""
    talk: list[Message] = []
    for message in messages:
        last = talk[-1] if talk else None
        if last and message.role in SIDES and last.role == message.role and not last.tool_calls:
            said = "\n\n".join(text for text in (last.text(), message.text()) if text.strip())
            talk[-1] = msgspec.structs.replace(message, content=said)
        else:
            talk.append(message)
    return talk
