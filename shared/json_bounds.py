"""Limits for JSON before it is decoded: the number of nodes, counted in the bytes, and the depth.

The length alone does not limit the cost. 18 MB of `[],[],…` are six million lists: half a gigabyte, and seconds of a
thread that everybody shares. Code that walks through a value calls itself once or twice per level.

JSON within these limits can be decoded, compared, encoded and walked through by all later code. Decoding a node takes
up to a quarter of a microsecond and 140 bytes. The first library that fails on depth is Google's SDK, at about 390
levels; decoders stop at the interpreter's limit, about 1,000.

The bytes are counted with functions of `bytes` only: everything but brackets, commas and quotes is deleted, then
strings are deleted, and the rest is counted.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator
from itertools import accumulate, chain
from typing import Literal, NamedTuple

from shared.errors import InvalidRequest, TooManyValues

JSON_NODES_MAX = 500_000
"""Default of the most nodes. An agent's 512 tools with 100 described properties each have 210,000 nodes, and 4,096 messages
of three parts each 60,000. At two tokens per node no model's window has room for more.
"""
JSON_DEPTH_MAX = 128
"""Default of the greatest depth. A property within a property is two levels deeper. OpenAI takes 10 such levels in a strict
schema.
"""
JSON_DEPTH_CEILING = 200
"""The greatest depth that an operator can allow: half of what the first library takes, because its callers need stack as
well.
"""

_STRUCTURE = b'"[]{},'
_ELSE = bytes(set(range(256)) - set(_STRUCTURE))
_IN_NO_ESCAPE = bytes(set(_ELSE) - set(b"\\/bfnrtu"))
"""Characters that may be deleted without changing an escape: no decoder takes one of them after a backslash."""
_STEPS = bytes.maketrans(b"[{]}", b"\1\1\xff\xff")
"""One level down or up, as signed bytes."""
_NESTED = {dict, list}
_PIECE_BYTES = 1_000_000
_FEW_MARKS = 1_000
"""Marks up to which searching for each one is faster than deleting all else: a body that is mostly one image has few."""


class Bounds(NamedTuple):
    """Limits for one text, or for texts that are decoded together. Nodes are the fields of all objects and the entries of
    all lists; an empty object or list counts as one.
    """

    nodes_max: int = JSON_NODES_MAX
    depth_max: int = JSON_DEPTH_MAX


class _InForce:
    """The limits of this process. They are a module-level object because parsers are created when modules are loaded,
    before the settings are read.
    """

    bounds = Bounds()


def put_in_force(bounds: Bounds) -> None:
    """Set the limits of this process."""
    _InForce.bounds = bounds


def require_nodes(what: str, text: bytes) -> None:
    """Check the nodes of a text before it is decoded. Raises `InvalidRequest`, which says that `what` has too many.

    Most texts have so few brackets and commas, inside strings or not, that strings need not be told apart. A text that is
    not JSON may pass: its decoder stops at the first fault, and everything before it was counted.
    """
    most = _InForce.bounds.nodes_max
    if len(text) > most and _has_more_marks(text, most) and _count(text, most)[0] > most:
        raise _too_many(what)


def require_bounded(what: str, *texts: bytes) -> None:
    """Check texts that are kept as strings until they are decoded together: the nodes of all, and the depth of each. Raises
    `InvalidRequest`, which says which limit `what` exceeds.
    """
    match excess(_InForce.bounds, *texts):
        case "nodes":
            raise _too_many(what)
        case "depth":
            raise InvalidRequest(f"{what} is {_too_deep()}.")


def refuse_depth(**values: object) -> None:
    """Check the depth of decoded values that may have any form, given by field name. Raises `ValueError`, which msgspec
    turns into an error that names the place in the body.
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
    """The limit that the texts exceed, or None."""
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
    """The number of nodes of a text that has passed the check."""
    return _count(text, len(text))[0]


def _has_more_marks(text: bytes, most: int) -> bool:
    """True if there are more than `most` opening brackets and commas, those in strings included. A text has no more nodes
    than these.
    """
    if _has_few_marks(text, min(most, _FEW_MARKS)):
        return False
    marks = 0
    for piece in _pieces(text):
        seen = piece.translate(None, _ELSE)
        marks += seen.count(b"[") + seen.count(b"{") + seen.count(b",")
        if marks > most:
            return True
    return False


def _has_few_marks(text: bytes, most: int) -> bool:
    """True if the text has at most `most` opening brackets and commas, those in strings included."""
    marks = 0
    for mark in (b"[", b"{", b","):
        at = text.find(mark)
        while at >= 0:
            marks += 1
            if marks > most:
                return False
            at = text.find(mark, at + 1)
    return True


def _count(text: bytes, nodes_max: int) -> tuple[int, int]:
    """Nodes and depth. The text is looked at in pieces; once it has more than `nodes_max` nodes, counting stops and only
    says that there are more.
    """
    nodes = level = deepest = 0
    in_string = False
    for piece in _pieces(text):
        seen = _without_escapes(piece).translate(None, _ELSE)
        # an empty string does not change what follows
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
    """Pieces of the text; none ends between a backslash and the character that it escapes."""
    start = 0
    while start < len(text):
        piece = text[start : start + _PIECE_BYTES]
        if (len(piece) - len(piece.rstrip(b"\\"))) % 2:
            piece = text[start : start + _PIECE_BYTES + 1]
        yield piece
        start += len(piece)
