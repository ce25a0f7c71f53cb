"""Performs acts on a connection: writes, waits, and the ways of breaking off."""

from __future__ import annotations

import asyncio
import random
import socket
import struct
from collections.abc import Iterable, Iterator
from typing import Protocol

from aiohttp import web

from deploy.simulator.acts import Act, Begin, Cut, Drip, End, Gate, Hangup, Send, Stall, Wait
from deploy.simulator.calls import Call
from deploy.simulator.state import Simulator

COALESCE_MAX = 256
"""Most acts that are joined in one write, so that a slow reader is noticed after that many."""
SPLIT_BYTES_MAX = 24


class Stage(Protocol):
    """A connection to perform on."""

    async def begin(self) -> None:
        """Send the headers."""

    async def send(self, data: bytes) -> None:
        """Send bytes; waits while the reader is slow."""

    async def end(self) -> None:
        """End the response tidily."""

    def hang_up(self) -> None:
        """Close the connection in the middle."""

    def cut(self) -> None:
        """Reset the connection."""


class HttpStage:
    """A streamed HTTP response; with `split` its bytes are cut at arbitrary positions."""

    def __init__(self, request: web.Request, response: web.StreamResponse, *, split: bool) -> None:
        self._request = request
        self._response = response
        self._split = split

    async def begin(self) -> None:
        """Send the headers."""
        await self._response.prepare(self._request)

    async def send(self, data: bytes) -> None:
        """Send bytes; waits while the reader is slow."""
        for part in _arbitrary_parts(data) if self._split else (data,):
            await self._response.write(part)
            if self._split:
                await asyncio.sleep(0)

    async def end(self) -> None:
        """End the response tidily."""
        await self._response.write_eof()

    def hang_up(self) -> None:
        """Close the connection in the middle of the body."""
        hang_up(self._request)

    def cut(self) -> None:
        """Reset the connection."""
        reset(self._request)


async def play(acts: Iterable[Act], stage: Stage, call: Call, simulator: Simulator) -> None:
    """Perform the acts up to the first one that ends the response; what is ready goes out in one write."""
    ready: list[Send] = []
    for act in acts:
        if isinstance(act, Send):
            ready.append(act)
            if len(ready) < COALESCE_MAX:
                continue
        elif isinstance(act, Wait) and not act.seconds:
            continue
        if ready:
            await _flush(ready, stage, call)
            simulator.calls.changed()
        if await _perform(act, stage, simulator):
            return


def reset(request: web.Request) -> None:
    """Reset a connection: close with a linger time of zero, which makes the kernel send RST."""
    if (transport := request.transport) is None:
        return
    connection = transport.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()


def hang_up(request: web.Request) -> None:
    """Close a connection with FIN, without the end of its HTTP body."""
    if request.transport is not None:
        request.transport.close()


async def _flush(ready: list[Send], stage: Stage, call: Call) -> None:
    if data := b"".join([act.data for act in ready]):
        await stage.send(data)
    call.tokens_sent += sum([act.tokens for act in ready])
    if len(ready) >= COALESCE_MAX:
        await asyncio.sleep(0)  # an endless stream without pace must let other calls run
    ready.clear()


async def _perform(act: Act, stage: Stage, simulator: Simulator) -> bool:
    """Perform one act; True when nothing may follow it."""
    match act:
        case Begin():
            await stage.begin()
        case Wait(seconds):
            await asyncio.sleep(seconds)
        case Gate(key):
            await simulator.pass_gate(key)
        case Drip(data, every_s):
            await _drip(stage, data, every_s)
        case Stall():
            await asyncio.Event().wait()
        case End():
            await stage.end()
        case Hangup():
            stage.hang_up()
        case Cut():
            stage.cut()
        case Send():
            pass
    return isinstance(act, End | Hangup | Cut)


async def _drip(stage: Stage, data: bytes, every_s: float) -> None:
    while True:
        await stage.send(data)
        await asyncio.sleep(every_s)


def _arbitrary_parts(data: bytes) -> Iterator[bytes]:
    lengths = random.Random(len(data))
    start = 0
    while start < len(data):
        end = start + lengths.randint(1, SPLIT_BYTES_MAX)
        yield data[start:end]
        start = end
