"""Moves instructions to the role, or to the place, that the model knows."""

from __future__ import annotations

import msgspec

from shared.catalogue.models import Model
from shared.chat import INSTRUCTIONS, Message, TextPart


def fit(messages: list[Message], model: Model) -> list[Message]:
    """The conversation with its instructions where `model.system_prompt` says."""
    match model.system_prompt:
        case "native":
            return _with_role(messages, "system")
        case "developer":
            return _with_role(messages, "developer")
        case "fold":
            return _folded(messages)


def _with_role(messages: list[Message], role: str) -> list[Message]:
    return [msgspec.structs.replace(m, role=role) if m.role in INSTRUCTIONS else m for m in messages]


def _folded(messages: list[Message]) -> list[Message]:
    """Put the instructions at the beginning of the first user turn; if there is none, they become a user turn."""
    instructions = "\n\n".join(m.text() for m in messages if m.role in INSTRUCTIONS and m.text().strip())
    rest = [m for m in messages if m.role not in INSTRUCTIONS]
    if not instructions:
        return rest
    for position, message in enumerate(rest):
        if message.role == "user":
            return [*rest[:position], _prefixed(message, instructions), *rest[position + 1 :]]
    return [Message("user", instructions), *rest]


def _prefixed(message: Message, instructions: str) -> Message:
    if isinstance(message.content, str):
        return Message("user", f"{instructions}\n\n{message.content}")
    return Message("user", [TextPart(f"{instructions}\n\n"), *message.content])
