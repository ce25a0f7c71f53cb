"""Text from JSON that may be cut anywhere, even inside a surrogate pair."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import TypeVar

import msgspec

from shared.errors import RebootError
from workers.providers.protocol import Joined

T = TypeVar("T")
JOINED_MAX = 16_384
"""Characters of the longest joined piece of text; longer ones would delay slow readers."""
HIGH_SURROGATES = range(0xD800, 0xDC00)


def decode(data: bytes, decoder: msgspec.json.Decoder[T], kind: type[T]) -> T:
    """Decode JSON strictly typed, including lone surrogate escapes (`"\ud83d"`), which fast decoders refuse. Raises
    `msgspec.DecodeError` or `ValueError` for anything that is not JSON of this shape.
    """
    try:
        return decoder.decode(data)
    except msgspec.ValidationError:
        raise
    except (msgspec.DecodeError, UnicodeDecodeError):
        return msgspec.convert(json.loads(data), kind)


def arguments_text(value: object) -> str:
    """The arguments of a call as JSON text, for a vendor that sends an object; None becomes `{}`."""
    return json.dumps({} if value is None else value, ensure_ascii=False, separators=(",", ":"))


def joined(pieces: Iterable[str | T]) -> Iterator[str | Joined | T]:
    """The pieces with neighbouring texts joined, up to about `JOINED_MAX`, because each piece has a cost of its own on its
    way to the caller. Text before a failure is yielded before it is raised.
    """
    texts: list[str] = []
    length = 0
    try:
        for piece in pieces:
            if isinstance(piece, str):
                texts.append(piece)
                length += len(piece)
            if texts and (length >= JOINED_MAX or not isinstance(piece, str)):
                text, texts, length = _joined(texts), [], 0
                yield text
            if not isinstance(piece, str):
                yield piece
    except RebootError:
        if texts:
            yield _joined(texts)
        raise
    if texts:
        yield _joined(texts)


def _joined(texts: list[str]) -> str | Joined:
    return texts[0] if len(texts) == 1 else Joined("".join(texts), len(texts))


class SurrogateJoiner:
    """Joins surrogate halves that arrive in different pieces; a half without a partner becomes U+FFFD."""

    def __init__(self) -> None:
        self._half = ""

    def feed(self, text: str) -> str:
        """The text that can be passed on now."""
        text, self._half = self._half + text, ""
        if text and ord(text[-1]) in HIGH_SURROGATES:
            text, self._half = text[:-1], text[-1]
        return text if text.isascii() else whole_characters(text)

    def finish(self) -> str:
        """The text that is left at the end."""
        rest, self._half = self._half, ""
        return whole_characters(rest)


def whole_characters(text: str) -> str:
    """The text with surrogate halves joined; a half without a partner becomes U+FFFD."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
