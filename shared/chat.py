"""A chat request in the project's own words: messages with text and image parts, and the options of the native API."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

import msgspec

Role = Literal["system", "developer", "user", "assistant"]
Temperature = Annotated[float, msgspec.Meta(ge=0, le=2)]
Probability = Annotated[float, msgspec.Meta(ge=0, le=1)]
Tokens = Annotated[int, msgspec.Meta(ge=1, le=2**31 - 1)]
StopSequence = Annotated[str, msgspec.Meta(min_length=1, max_length=256)]
TOKENS_PER_MESSAGE_BOUND = 8
"""What a vendor's chat template may add to one message, at most."""


class TextPart(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="text", tag_field="type"):
    """`{"type": "text", "text"}`."""

    text: str


class ImageUrl(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A `data:` URL; nothing is ever fetched."""

    url: str


class ImagePart(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="image_url", tag_field="type"):
    """`{"type": "image_url", "image_url": {"url": "data:image/png;base64,…"}}`."""

    image_url: ImageUrl


Part = TextPart | ImagePart


class Message(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One turn: `content` is a string or a list of parts."""

    role: Role
    content: str | list[Part]

    def text(self) -> str:
        """The text parts, joined."""
        if isinstance(self.content, str):
            return self.content
        return "".join(part.text for part in self.content if isinstance(part, TextPart))

    def images(self) -> list[ImagePart]:
        """The image parts, in order."""
        return [] if isinstance(self.content, str) else [part for part in self.content if isinstance(part, ImagePart)]


class Sampling(msgspec.Struct, frozen=True, kw_only=True):
    """What a vendor is asked besides the messages; None leaves the vendor's default."""

    temperature: float | None = None
    top_p: float | None = None
    stop: tuple[str, ...] = ()


def input_bound(messages: Sequence[Message], tokens_per_image: int) -> int:
    """An upper bound of the input tokens: no tokenizer makes more tokens of a text than it has UTF-8 bytes."""
    return sum(
        len(message.text().encode()) + TOKENS_PER_MESSAGE_BOUND + len(message.images()) * tokens_per_image
        for message in messages
    )
