"""The events on the wire during one call, as a list of acts without any I/O.

A protocol writes its parts as bytes (`Wire`). `streamed` and `whole` put the parts in order, and break that order if
the script asks for a fault; `player.py` performs them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Protocol

import msgspec

from deploy.simulator import answer
from deploy.simulator.answer import CallText, Piece, Reply
from deploy.simulator.script import Script

COMMENT_EVERY_S = 0.05


class Begin(msgspec.Struct, frozen=True):
    """Send the headers."""


class Send(msgspec.Struct, frozen=True):
    """Send bytes that carry `tokens` new tokens."""

    data: bytes
    tokens: int = 0


class Wait(msgspec.Struct, frozen=True):
    """Let time pass."""

    seconds: float


class Gate(msgspec.Struct, frozen=True):
    """Wait until a test releases this key."""

    key: str


class Drip(msgspec.Struct, frozen=True):
    """Send the same bytes again and again, for ever."""

    data: bytes
    every_s: float


class Stall(msgspec.Struct, frozen=True):
    """Send nothing more and keep the connection open."""


class End(msgspec.Struct, frozen=True):
    """End the response properly."""


class Hangup(msgspec.Struct, frozen=True):
    """Close the connection (FIN) in the middle of the body."""


class Cut(msgspec.Struct, frozen=True):
    """Reset the connection (RST)."""


Act = Begin | Send | Wait | Gate | Drip | Stall | End | Hangup | Cut


class Wire(Protocol):
    """Writes the parts of one streamed answer in one protocol. `text` is a JSON string with its quotes."""

    def opening(self) -> bytes:
        """The bytes before the first token."""

    def thought(self, text: bytes) -> bytes:
        """A piece of visible reasoning; empty if the vendor hides it."""

    def token(self, text: bytes) -> bytes:
        """A piece of the answer."""

    def call(self, piece: CallText, text: bytes) -> bytes:
        """A piece of a tool call: its name if it begins here, and `text` of its arguments."""

    def finish(self) -> bytes:
        """The reason for the answer's end."""

    def done(self) -> bytes:
        """The usage, if it is to be sent, and the last marker."""

    def error(self) -> bytes:
        """A failure in the middle of the answer."""

    def comment(self) -> bytes:
        """Bytes without a meaning, such as a keep-alive."""

    def garbage(self) -> bytes:
        """Malformed bytes."""


def streamed(wire: Wire, reply: Reply, script: Script) -> Iterator[Act]:
    """Order the acts of a streamed answer."""
    first = Wait(script.first_ms / 1000)
    yield from (first, Begin()) if script.fault == "slow_headers" else (Begin(), first)
    if script.fault != "empty":
        yield Send(wire.comment() * script.keepalive + wire.opening())
        yield from _tokens(wire, reply, script)
    yield End()


def whole(body: bytes, complaint: bytes, reply: Reply, script: Script) -> Iterator[Act]:
    """Order the acts of an answer in one JSON body; `complaint` is an error object of the vendor."""
    yield Wait((script.first_ms + script.pace_ms * reply.output_tokens) / 1000)
    if script.hold >= 0:
        yield Gate(script.key)
    yield Begin()
    yield Send(b"\n" * script.keepalive)
    half = Send(body[: len(body) // 2])
    parts: dict[str, tuple[Act, ...]] = {
        "cut": (half, Cut()),
        "fin": (half, Hangup()),
        "early_end": (half,),
        "garbage": (half,),
        "silence": (half, Stall()),
        "comments": (Drip(b"\n", COMMENT_EVERY_S),),
        "endless": (half, Drip(b" " * 1024, 0)),
        "error_event": (Send(complaint),),
        "empty": (),
    }
    yield from parts.get(script.fault, (Send(body, reply.output_tokens),))
    yield End()


def _tokens(wire: Wire, reply: Reply, script: Script) -> Iterator[Act]:
    yield from _thoughts(wire, reply, script)
    pieces: Iterable[Piece] = answer.endless_pieces(reply.pieces) if script.fault == "endless" else reply.pieces
    for sent, piece in enumerate(pieces):
        if sent and script.pace_ms:
            yield Wait(script.pace_ms / 1000)
        yield from _before(sent, wire, script)
        yield from _piece(wire, piece, script)
    yield from _before(len(reply.pieces), wire, script)
    if script.after > len(reply.pieces):
        yield from _fault(wire, script)
    if script.fault != "no_finish":
        yield Send(wire.finish())
    if script.fault != "no_done":
        yield Send(wire.done())


def _thoughts(wire: Wire, reply: Reply, script: Script) -> Iterator[Act]:
    for thought in answer.thoughts(reply.reasoning):
        yield Send(wire.thought(answer.escaped(thought)))
        if script.pace_ms:
            yield Wait(script.pace_ms / 1000)


def _before(sent: int, wire: Wire, script: Script) -> Iterator[Act]:
    """Wait or break off after the number of tokens that the script says."""
    if sent == script.hold:
        yield Gate(script.key)
    if sent == script.after and script.fault:
        yield from _fault(wire, script)


def _piece(wire: Wire, piece: Piece, script: Script) -> Iterator[Act]:
    text = piece if isinstance(piece, str) else piece.text
    halves = answer.lone_halves(text) if script.surrogate else (answer.escaped(text),)
    for ordinal, half in enumerate(halves):
        said = wire.token(half) if isinstance(piece, str) else wire.call(_part(piece, ordinal, len(halves)), half)
        yield Send(said, 0 if ordinal else 1)


def _part(piece: CallText, ordinal: int, parts: int) -> CallText:
    """One of the two halves of a piece: only the first half begins a call, and only the last ends it."""
    name, ends = "" if ordinal else piece.name, piece.ends and ordinal == parts - 1
    return msgspec.structs.replace(piece, name=name, ends=ends)


def _fault(wire: Wire, script: Script) -> tuple[Act, ...]:
    said: dict[str, Callable[[], bytes]] = {
        "error_event": wire.error,
        "garbage": wire.garbage,
        "comments": wire.comment,
    }
    data = said[script.fault]() if script.fault in said else b""
    faults: dict[str, tuple[Act, ...]] = {
        "cut": (Cut(),),
        "fin": (Hangup(),),
        "early_end": (End(),),
        "error_event": (Send(data), End()),
        "garbage": (Send(data),),
        "silence": (Stall(),),
        "comments": (Drip(data, COMMENT_EVERY_S),),
    }
    return faults.get(script.fault, ())
