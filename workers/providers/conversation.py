"""A conversation as vendors with strict turns want it: instructions apart, user and assistant in turn, nothing blank."""

from __future__ import annotations

import base64
import binascii

import msgspec

from shared.chat import ImagePart, Message, Part, TextPart
from shared.errors import InvalidRequest
from workers.prompt import INSTRUCTIONS


class Turn(msgspec.Struct):
    """What one side said, in parts, until the other spoke. `role` is `user` or `assistant`."""

    role: str
    parts: list[Part]

    @property
    def text(self) -> str:
        """The text parts, one paragraph each."""
        return "\n\n".join(part.text for part in self.parts if isinstance(part, TextPart))


class Conversation(msgspec.Struct, frozen=True):
    """`instructions` is empty when there are none."""

    instructions: str
    turns: list[Turn]


def conversation(messages: list[Message]) -> Conversation:
    """Neighbours of one role become one turn. Raises `InvalidRequest` for a blank message, or when there is no turn."""
    instructions = "\n\n".join(m.text() for m in messages if m.role in INSTRUCTIONS and m.text().strip())
    turns: list[Turn] = []
    for message in messages:
        if message.role in INSTRUCTIONS:
            continue
        if turns and turns[-1].role == message.role:
            turns[-1].parts.extend(_parts(message))
        else:
            turns.append(Turn(message.role, _parts(message)))
    if not turns:
        raise InvalidRequest("`messages` needs at least one message of the user for this model.")
    return Conversation(instructions, turns)


def image(part: ImagePart) -> tuple[str, bytes]:
    """The format (`png`, `jpeg`, `gif`, `webp`) and the bytes in a data URL. Raises `InvalidRequest`."""
    head, _, data = part.image_url.url.partition(",")
    try:
        return head.removeprefix("data:image/").removesuffix(";base64"), base64.b64decode(data, validate=True)
    except binascii.Error:
        raise InvalidRequest("An image in `messages` is not valid base 64.") from None


def _parts(message: Message) -> list[Part]:
    parts: list[Part] = [TextPart(message.content)] if isinstance(message.content, str) else list(message.content)
    parts = [part for part in parts if isinstance(part, ImagePart) or part.text.strip()]
    if not parts:
        raise InvalidRequest(f"`messages` has a blank message of the {message.role}, which this model refuses.")
    return parts
