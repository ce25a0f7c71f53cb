"""Where many streams trickle, what each brings in a while is read together, and all that are due are read in one turn.

A token that is read, flushed and written by itself finds every cache cold, in four processes; two of one stream and twenty
of different ones that go together cost little more than one. Network drivers do the same with interrupts.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import Iterator

import aiohttp

TICK_S = 0.01
"""Reads fall due at multiples of this, so that they fall due together."""
GAP_PER_STREAM_S = 0.0005
"""Of each open stream: a process reads at most so often, and few streams are read as they come."""
TRICKLE_BYTES = 1_024
"""A read that brought more is of a stream that does not trickle."""


class Coalescing:
    """The open streams of one process. Between two reads of one of them lie at most `gap_max_s` and a tick; 0 is none."""

    def __init__(self, gap_max_s: float) -> None:
        self._gap_max_s = gap_max_s
        self._streams = 0

    @contextlib.contextmanager
    def stream(self, response: aiohttp.ClientResponse) -> Iterator[StreamReads]:
        """The reads of this answer."""
        self._streams += 1
        try:
            yield StreamReads(response, self)
        finally:
            self._streams -= 1

    def gap_s(self) -> float:
        """Between two reads of one stream, now."""
        gap_s = min(self._gap_max_s, self._streams * GAP_PER_STREAM_S)
        return gap_s if gap_s >= TICK_S else 0.0


class StreamReads:
    """Made by `Coalescing.stream`. What a stream begins with is never kept waiting."""

    def __init__(self, response: aiohttp.ClientResponse, all_streams: Coalescing) -> None:
        self._response = response
        self._all_streams = all_streams
        self._begun = False

    async def read(self) -> bytes:
        """What has come since, at least a byte; none at the end. Raises aiohttp's errors."""
        chunk: bytes = await self._response.content.readany()
        return chunk

    async def pause(self, read_bytes: int) -> None:
        """Let it gather, after a read that brought so much."""
        begun, self._begun = self._begun, True
        gap_s = self._all_streams.gap_s()
        if begun and gap_s and read_bytes <= TRICKLE_BYTES:
            now = asyncio.get_running_loop().time()
            with self._left_to_the_kernel():
                await asyncio.sleep(math.ceil((now + gap_s) / TICK_S) * TICK_S - now)

    @contextlib.contextmanager
    def _left_to_the_kernel(self) -> Iterator[None]:
        """What comes meanwhile, which spares its reads; aiohttp gathers it otherwise. Not with TLS, whose transport reads all
        the same, and forgets what it holds when the vendor resets the connection.
        """
        connection = self._response.connection
        transport = connection.transport if connection else None
        if transport is None or transport.get_extra_info("sslcontext"):
            yield
            return
        with contextlib.suppress(RuntimeError):  # uvloop's word for one that has closed
            transport.pause_reading()
        try:
            yield
        finally:
            with contextlib.suppress(RuntimeError):
                transport.resume_reading()
