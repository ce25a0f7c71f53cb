"""Thoughts in the fields that services and clients of OpenAI's chat completions use for them.

`reasoning_content` is DeepSeek's field for the text, which most clients show. `reasoning_details` is OpenRouter's field
for signed thoughts, which its clients and agents send back unchanged. Google's `extra_content` does the same for a call
(openrouter.ai/docs, ai.google.dev/gemini-api/docs/openai, api-docs.deepseek.com/guides/thinking_mode; read 2026-11).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Literal

import msgspec

from shared.thoughts import Thought, ThoughtPiece

TEXT, SUMMARY, ENCRYPTED = "reasoning.text", "reasoning.summary", "reasoning.encrypted"
DETAILS_MAX, PLACE_MAX = 10_000, 2**31 - 1
"""The most entries of one message that are read, and the last place in a message; a place beyond the end counts as the
end.
"""


class ReasoningDetail(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A thought, or a piece of the thought with this `index`. It has a text, or `data` if there is no text to show."""

    type: Literal["reasoning.text", "reasoning.encrypted"]
    """`reasoning.text` for a thought with a text, `reasoning.encrypted` for one with `data` only."""
    index: int | msgspec.UnsetType = msgspec.UNSET
    """The number of the thought, counted from 0 within the answer."""
    text: str | msgspec.UnsetType = msgspec.UNSET
    """The text that the vendor shows of the thought."""
    signature: str | msgspec.UnsetType = msgspec.UNSET
    """The signature by which the vendor recognises the thought; send it back unchanged."""
    data: str | msgspec.UnsetType = msgspec.UNSET
    """The thought, encrypted by its vendor; send it back unchanged."""
    after_text: int = 0
    """The characters of the answer's text that come before this thought."""
    after_calls: int = 0
    """The number of the answer's calls that come before this thought."""


class GoogleExtra(msgspec.Struct, frozen=True):
    """Data that Gemini wants back with a call."""

    thought_signature: str
    """Gemini's signature of the thought before the call; send it back unchanged."""


class ExtraContent(msgspec.Struct, frozen=True):
    """Data that callers send back with a call, unchanged."""

    google: GoogleExtra
    """The data that Gemini wants back."""


class _SentBack(msgspec.Struct):
    """An entry of `reasoning_details` as this service and others write it."""

    type: str
    index: int | None = None
    text: str | None = None
    summary: str | None = None
    signature: str | None = None
    data: str | None = None
    after_text: int = 0
    after_calls: int = 0


def details_of(thoughts: Sequence[Thought]) -> list[ReasoningDetail]:
    """The signed thoughts of a whole answer."""
    return [_detail(index, thought) for index, thought in enumerate(thoughts) if thought.signature]


def detail_of(piece: ThoughtPiece) -> ReasoningDetail:
    """A piece of a thought in a stream."""
    return _detail(piece.index, piece)


def extra_of(signature: str | None) -> ExtraContent | msgspec.UnsetType:
    """The field `extra_content` of a call."""
    return ExtraContent(GoogleExtra(signature)) if signature else msgspec.UNSET


def signature_in(extra: object) -> str | None:
    """The signature in the field `extra_content` of a call; None if there is none."""
    google = extra.get("google") if isinstance(extra, dict) else None
    signature = google.get("thought_signature") if isinstance(google, dict) else None
    return signature if isinstance(signature, str) else None


def thoughts_in(details: Sequence[Any] | None, text: str | None) -> tuple[Thought, ...]:
    """The thoughts in an assistant's message. They are taken from its details, of which clients may have kept every
    piece, or else from its text.
    """
    pieces: dict[int, list[_SentBack]] = {}
    for place, entry in enumerate((details or ())[:DETAILS_MAX]):
        if (piece := _read(entry)) is not None:
            pieces.setdefault(place if piece.index is None else piece.index, []).append(piece)
    thoughts = tuple(_joined(group) for group in pieces.values())
    if not any(thought.signature for thought in thoughts):
        return (Thought(text),) if text else ()
    return thoughts


def are_all_read(details: object, text: str | None) -> bool:
    """True if every entry is a piece of a thought, and a signature or the text makes them usable."""
    if not isinstance(details, list) or len(details) > DETAILS_MAX:
        return False
    pieces = [_read(entry) for entry in details]
    return None not in pieces and (bool(text) or any(one.signature or one.data for one in pieces if one))


def _detail(index: int, one: Thought | ThoughtPiece) -> ReasoningDetail:
    after_text, after_calls = (one.after_text, one.after_calls) if isinstance(one, Thought) else (0, 0)
    signature = one.signature or msgspec.UNSET
    if one.redacted or (isinstance(one, Thought) and not one.text):
        return ReasoningDetail(
            type="reasoning.encrypted", index=index, data=signature, after_text=after_text, after_calls=after_calls
        )
    return ReasoningDetail(
        type="reasoning.text",
        index=index,
        text=one.text,
        signature=signature,
        after_text=after_text,
        after_calls=after_calls,
    )


def _read(entry: object) -> _SentBack | None:
    try:
        piece = msgspec.convert(entry, _SentBack)
    except msgspec.ValidationError:
        return None
    return piece if piece.type in {TEXT, SUMMARY, ENCRYPTED} else None


def _joined(pieces: Iterable[_SentBack]) -> Thought:
    text, signature, place = "", None, (0, 0)
    for piece in pieces:
        text += piece.text or piece.summary or ""
        signature = piece.signature or piece.data or signature
        place = max(place, (piece.after_text, piece.after_calls))
    after_text, after_calls = (min(max(0, one), PLACE_MAX) for one in place)
    return Thought(text, signature, after_text=after_text, after_calls=after_calls)
