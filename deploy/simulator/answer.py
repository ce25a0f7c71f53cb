"""The text of a simulated answer and its token counts: pure functions, so that a test can check every byte.

One token is one piece of text. The first two tokens of the text say that it is simulated.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import count
from typing import Literal
from zlib import crc32

import msgspec

from deploy.simulator.script import Script

Ending = Literal["stop", "length", "stop_sequence", "tool_calls"]

IMAGE_TOKENS = 85
"""Prompt tokens of any image: what gpt-4o counts for one in low detail."""

_OPENING = (
    " This",
    " text",
    " was",
    " made",
    " up",
    " by",
    " the",
    " simulator:",
    " no",
    " vendor",
    " was",
    " called.",
)
_WORDS = tuple(
    f" {word}"
    for line in (
        "amber anchor apple autumn basket beacon birch bridge candle canyon cedar circle copper coral cotton cradle",
        "delta ember engine falcon feather fern forest garden glacier granite harbor hazel horizon island ivory",
        "jasmine kettle lantern lemon linen maple marble meadow mirror mountain oak ocean olive orchard paper pebble",
        "pepper pine planet prairie quartz raven ribbon river saddle silver spruce summer thunder timber velvet",
    )
    for word in line.split()
)
_AWKWARD = (
    " 🙂",
    " 漢字",
    " e\u0301",  # a combining accent
    " 👩\u200d👩\u200d👧",  # joined by zero-width joiners
    " 🇫🇷",
    " नमस्ते",
    " مرحبا",
    ' "quoted\\"',
    "\n",
    " \u2028",  # ends a line for str.splitlines, not for SSE
    "\x85",  # the same for NEL
    " \U0001d4b3",  # a mathematical letter beyond the BMP
    "\t<&>",
)
_AWKWARD_EVERY = 3
_BMP_LAST = 0xFFFF


class CallText(msgspec.Struct, frozen=True):
    """A piece of the arguments of the tool call `index`. The call begins if `name` is given, and ends if `ends` is
    true.
    """

    index: int
    text: str
    name: str = ""
    ends: bool = False


class Call(msgspec.Struct):
    """One whole tool call; a limit may have cut its arguments."""

    name: str
    arguments: str = ""


Piece = str | CallText
"""One token of an answer."""


class Reply(msgspec.Struct, frozen=True):
    """One answer: its visible pieces, why it ended, and the true counts (`output_tokens` includes `reasoning`)."""

    pieces: tuple[Piece, ...]
    ending: Ending
    prompt_tokens: int
    cached: int = 0
    reasoning: int = 0
    written: int = 0
    written_long: int = 0

    @property
    def text(self) -> str:
        """The visible text."""
        return "".join(piece for piece in self.pieces if isinstance(piece, str))

    @property
    def calls(self) -> list[Call]:
        """The tool calls, in order."""
        calls: dict[int, Call] = {}
        for piece in self.pieces:
            if isinstance(piece, CallText):
                calls.setdefault(piece.index, Call(piece.name)).arguments += piece.text
        return list(calls.values())

    @property
    def output_tokens(self) -> int:
        """Visible and reasoning tokens."""
        return len(self.pieces) + self.reasoning


class Hit(msgspec.Struct, frozen=True):
    """Tokens of a prompt that were read from a cache, and tokens written to one; `written_long` is the part of the latter
    that is kept for an hour or more.
    """

    read: int = 0
    written: int = 0
    written_long: int = 0


NOTHING = Hit()


class Usage(msgspec.Struct, frozen=True):
    """The counts that the vendor reports, true or not. `output` includes `reasoning`; `prompt` includes `cached` and
    `written`; `written` includes `written_long`.
    """

    prompt: int
    cached: int
    output: int
    reasoning: int
    written: int = 0
    written_long: int = 0

    @property
    def total(self) -> int:
        """Prompt and output."""
        return self.prompt + self.output


def answer(model: str, prompt_text: str, script: Script) -> list[str]:
    """The pieces of the answer before any limit; the text depends on the key of the script, else on the prompt.

    `prompt_text` is the text of the last user message as the vendor received it.
    """
    seed = crc32((script.key or prompt_text).encode())
    return list(_pieces(model, seed % (len(_WORDS) * (len(_WORDS) - 1)), script.tokens, script.size, script.unicode))


def reply(
    pieces: Sequence[Piece], prompt_tokens: int, script: Script, limit: int, stops: Sequence[str], hit: Hit = NOTHING
) -> Reply:
    """Cut the answer at the first stop sequence and at the output limit, of which reasoning takes its part first. `hit`
    is the part of the prompt that a cache had, unless the script names it.
    """
    reasoning = min(script.reasoning, limit)
    ending: Ending = "tool_calls" if any(isinstance(piece, CallText) for piece in pieces) else "stop"
    if stops and (shorter := _before_stop(pieces, stops)) is not None:
        pieces, ending = shorter, "stop_sequence"
    if len(pieces) > limit - reasoning:
        pieces, ending = pieces[: limit - reasoning], "length"
    if script.cached or script.written:
        hit = Hit(script.cached, script.written, script.written_long)
    cached = min(hit.read, prompt_tokens)
    written = min(hit.written, prompt_tokens - cached)
    written_long = min(hit.written_long, written)
    return Reply(tuple(pieces), ending, prompt_tokens, cached, reasoning, written, written_long)


def usage_of(reply: Reply, script: Script) -> Usage | None:
    """The usage to report: the true one, the scripted lie, or None if it must be missing."""
    true = Usage(
        reply.prompt_tokens, reply.cached, reply.output_tokens, reply.reasoning, reply.written, reply.written_long
    )
    if script.usage == "missing":
        return None
    lies = {
        "zero": Usage(0, 0, 0, 0),
        "wrong": Usage(true.prompt * 3 + 1_000, true.cached, true.output * 5 + 1_000, true.reasoning),
        "negative": Usage(-true.prompt, 0, -true.output, 0),
        "contradictory": Usage(true.prompt, true.prompt + 1, true.output, true.reasoning),
        "huge": Usage(10**15, 0, 10**15, 0),
    }
    return lies.get(script.usage, true)


def prompt_tokens(texts: Iterable[str], images: int = 0) -> int:
    """Count a prompt: a token per four UTF-8 bytes, rounded up, and 3 per message; `IMAGE_TOKENS` per image."""
    return sum((len(text.encode()) + 3) // 4 + 3 for text in texts) + IMAGE_TOKENS * images


def thoughts(tokens: int) -> list[str]:
    """The pieces of visible reasoning (DeepSeek)."""
    return [f"{_WORDS[i % len(_WORDS)]}?" for i in range(tokens)]


def endless_pieces(pieces: Sequence[Piece]) -> Iterable[str]:
    """Repeat the text for ever; an answer without text repeats a space."""
    loop = [piece for piece in pieces if isinstance(piece, str)] or [" "]
    return (loop[i % len(loop)] for i in count())


@lru_cache(maxsize=8192)
def escaped(piece: str) -> bytes:
    """Write a piece as a JSON string, quotes included, in raw UTF-8."""
    return msgspec.json.encode(piece)


def lone_halves(piece: str) -> tuple[bytes, ...]:
    """Write a piece as JSON strings: as two that split its first character beyond the BMP, or as one if there is no
    such character.
    """
    for i, character in enumerate(piece):
        if ord(character) > _BMP_LAST:
            high, low = character.encode("utf-16-be").hex()[:4], character.encode("utf-16-be").hex()[4:]
            head, tail = escaped(piece[:i])[:-1], escaped(piece[i + 1 :])[1:]
            return head + f'\\u{high}"'.encode(), f'"\\u{low}'.encode() + tail
    return (escaped(piece),)


@lru_cache(maxsize=256)
def _pieces(model: str, seed: int, tokens: int, size: int, unicode: bool) -> tuple[str, ...]:  # noqa: FBT001 (a cache key)
    stride, offset = divmod(seed, len(_WORDS))
    words = [*_OPENING, *(_WORDS[(offset + i * (stride + 1)) % len(_WORDS)] for i in range(tokens))]
    body = [_AWKWARD[i % len(_AWKWARD)] if unicode and i % _AWKWARD_EVERY == 0 else w for i, w in enumerate(words)]
    return ("[simulated", f" {model}]", *(_sized(piece, size) for piece in body))[:tokens]


def _sized(piece: str, size: int) -> str:
    if not size:
        return piece
    return piece[:size] if piece.isascii() and len(piece) > size else piece + "." * (size - len(piece.encode()))


def _before_stop(pieces: Sequence[Piece], stops: Sequence[str]) -> list[str] | None:
    spoken = [piece for piece in pieces if isinstance(piece, str)]
    text = "".join(spoken)
    found = [at for stop in stops if stop and (at := text.find(stop)) >= 0]
    if not found:
        return None
    kept, room = list[str](), min(found)
    for piece in spoken:
        if room <= 0:
            break
        kept.append(piece[:room])
        room -= len(piece)
    return kept
