"""How much JSON may cost to be understood: nodes, counted in its bytes before anything is decoded, and depth.

Bytes alone do not say it: 18 MB of `[],[],…` are six million lists, half a gigabyte and seconds of a thread that everybody
shares; and whoever walks down a value calls itself once or twice for each level. What passes here can be decoded, compared,
encoded and walked down by everything that it goes through: to decode a node takes up to a quarter of a microsecond and 140
bytes, and the first library to give up is Google's SDK, at some 390 levels. Decoders stop by themselves at the interpreter's
limit, some 1,000.

The bytes are looked at by functions of `bytes` only: what is no bracket, comma or quote is deleted, then the strings are, and
the rest is counted.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator
from itertools import accumulate, chain
from typing import Literal, NamedTuple

from shared.errors import InvalidRequest, TooManyValues

JSON_NODES_MAX = 500_000
"""An agent's 512 tools with 100 described properties each are 210,000, and 4,096 messages of three parts each 60,000. Where a
node is two tokens of a prompt, no model's window has room for more.
"""
JSON_DEPTH_MAX = 128
"""A property within a property is two levels deeper. OpenAI takes 10 such levels of a strict schema."""
JSON_DEPTH_CEILING = 200
"""The most that an operator can allow: half of what the first library takes, which has callers above it."""

_STRUCTURE = b'"[]{},'
_ELSE = bytes(set(range(256)) - set(_STRUCTURE))
_IN_NO_ESCAPE = bytes(set(_ELSE) - set(b"\\/bfnrtu"))
"""Without these an escape still stands as it stood: no decoder takes one of them behind a backslash."""
_STEPS = bytes.maketrans(b"[{]}", b"\1\1\xff\xff")
"""Down and up a level, as signed bytes."""
_NESTED = {dict, list}
_PIECE_BYTES = 1_000_000


class Bounds(NamedTuple):
    """Of one text, or of those that are decoded together. Nodes are the fields of all objects and the entries of all lists,
    and one more for each object and list that has none.
    """

    nodes_max: int = JSON_NODES_MAX
    depth_max: int = JSON_DEPTH_MAX


class _InForce:
    """The bounds of this process. They stand here because parsers are made when modules are loaded, before any settings."""

    bounds = Bounds()


def put_in_force(bounds: Bounds) -> None:
    """From now on, for this whole process."""
    _InForce.bounds = bounds


def require_nodes(what: str, text: bytes) -> None:
    """Of a text before it is decoded. Most have so few brackets and commas, in strings or not, that these need not be told
    apart. What is no JSON may pass: its decoder stops at the first fault, and everything before that was counted.

    Raises `InvalidRequest`, which says that `what` has too many.
    """
    most = _InForce.bounds.nodes_max
    if len(text) > most and _has_more_marks(text, most) and _count(text, most)[0] > most:
        raise _too_many(what)


def require_bounded(what: str, *texts: bytes) -> None:
    """Of texts that are decoded together and kept in strings until then: their nodes together, and the depth of each. Raises
    `InvalidRequest` that says which of them `what` is beyond.
    """
    match excess(_InForce.bounds, *texts):
        case "nodes":
            raise _too_many(what)
        case "depth":
            raise InvalidRequest(f"{what} is {_too_deep()}.")


def refuse_depth(**values: object) -> None:
    """Of decoded values that may have any form, by the names of their fields. Raises `ValueError`, which msgspec makes a
    fault of the body with its place.
    """
    for name, value in values.items():
        if type(value) in _NESTED and _is_too_deep(value):
            raise ValueError(f"`{name}` is {_too_deep()}")


def _is_too_deep(value: object) -> bool:
    level: Iterable[object] = (value,)
    for _ in range(_InForce.bounds.depth_max + 1):
        nested = [inside for inside in level if type(inside) in _NESTED]
        if not nested:
            return False
        level = chain.from_iterable(one.values() if type(one) is dict else one for one in nested)  # type: ignore[misc]
    return True


def _too_many(what: str) -> TooManyValues:
    most = _InForce.bounds.nodes_max
    return TooManyValues(
        f"{what} has more than {most} values: each field of an object and each entry of a list is one. Send less at a time."
    )


def _too_deep() -> str:
    return f"nested too deeply: objects and lists may lie in each other {_InForce.bounds.depth_max} times"


def excess(bounds: Bounds, *texts: bytes) -> Literal["nodes", "depth"] | None:
    """Which of the bounds the texts are beyond."""
    nodes = 0
    for text in texts:
        more, depth = _count(text, bounds.nodes_max)
        nodes += more
        if nodes > bounds.nodes_max:
            return "nodes"
        if depth > bounds.depth_max:
            return "depth"
    return None


def nodes_of(text: bytes) -> int:
    """How many there are in a text that has passed."""
    return _count(text, len(text))[0]


def _has_more_marks(text: bytes, most: int) -> bool:
    """Whether there are more brackets that open and commas, those in strings included: there are no more nodes than these."""
    marks = 0
    for piece in _pieces(text):
        seen = piece.translate(None, _ELSE)
        marks += seen.count(b"[") + seen.count(b"{") + seen.count(b",")
        if marks > most:
            return True
    return False


def _count(text: bytes, nodes_max: int) -> tuple[int, int]:
    """Nodes and depth. Of a text with more nodes than `nodes_max` it is told only that there are more, as soon as that is
    known: the text is looked at in pieces.
    """
    nodes = level = deepest = 0
    in_string = False
    for piece in _pieces(text):
        seen = _without_escapes(piece).translate(None, _ELSE)
        # two quotes side by side change nothing behind them
        outside = b"".join(seen.replace(b'""', b"").split(b'"')[in_string::2])
        in_string ^= seen.count(b'"') % 2 == 1
        nodes += outside.count(b"[") + outside.count(b"{") + outside.count(b",")
        if nodes > nodes_max:
            return nodes, 0
        steps = array("b", outside.translate(_STEPS, b","))
        deepest = max(deepest, level + max(accumulate(steps), default=0))
        level += sum(steps)
    return nodes, deepest


def _without_escapes(piece: bytes) -> bytes:
    if b"\\" not in piece:
        return piece
    return piece.translate(None, _IN_NO_ESCAPE).replace(b"\\\\", b"").replace(b'\\"', b"")


def _pieces(text: bytes) -> Iterator[bytes]:
    """None ends between a backslash and what it escapes."""
    start = 0
    while start < len(text):
        piece = text[start : start + _PIECE_BYTES]
        if (len(piece) - len(piece.rstrip(b"\\"))) % 2:
            piece = text[start : start + _PIECE_BYTES + 1]
        yield piece
        start += len(piece)
