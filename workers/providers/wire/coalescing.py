"""Reads many slow streams in batches: bytes of a stream that arrive within a short time are read together, and all due
streams are read in one turn.

A token that is read, flushed and written by itself finds every CPU cache cold, in four processes; two tokens of one
stream, and twenty of different streams together, cost little more than one. Network drivers coalesce interrupts for the
same reason.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import Iterator

import aiohttp

TICK_S = 0.01
"""The grid of reads in seconds: all reads are due at multiples of it, so that many are due together."""
GAP_PER_STREAM_S = 0.0005
"""Seconds between two reads of a stream, for each open stream: so a process has a bounded number of reads, and few
streams are read without delay.
"""
TRICKLE_BYTES = 1_024
"""A stream whose read brought more bytes is not slow."""


class Coalescing:
    """The open streams of one process. Two reads of one stream are at most `gap_max_s` and a tick apart; 0 switches this
    off.
    """

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
        """The present gap between two reads of one stream."""
        gap_s = min(self._gap_max_s, self._streams * GAP_PER_STREAM_S)
        return gap_s if gap_s >= TICK_S else 0.0


class StreamReads:
    """The reads of one stream, made by `Coalescing.stream`. The beginning of a stream is never delayed."""

    def __init__(self, response: aiohttp.ClientResponse, all_streams: Coalescing) -> None:
        self._response = response
        self._all_streams = all_streams
        self._begun = False

    async def read(self) -> bytes:
        """The bytes that have arrived, at least one; empty at the end. Raises aiohttp's errors."""
        chunk: bytes = await self._response.content.readany()
        return chunk

    async def pause(self, read_bytes: int) -> None:
        """Wait for more bytes to gather, after a read that brought `read_bytes`."""
        begun, self._begun = self._begun, True
        gap_s = self._all_streams.gap_s()
        if begun and gap_s and read_bytes <= TRICKLE_BYTES:
            now = asyncio.get_running_loop().time()
            with self._left_to_the_kernel():
                await asyncio.sleep(math.ceil((now + gap_s) / TICK_S) * TICK_S - now)

    @contextlib.contextmanager
    def _left_to_the_kernel(self) -> Iterator[None]:
        """Leave arriving bytes in the kernel's buffer during the block, which saves reads; otherwise aiohttp reads
        them. This does not work with TLS, whose transport reads anyway, and loses the bytes in its buffer if the vendor
        resets the connection.
        """
        connection = self._response.connection
        transport = connection.transport if connection else None
        if transport is None or transport.get_extra_info("sslcontext"):
            yield
            return
        with contextlib.suppress(RuntimeError):  # uvloop raises it for a closed transport
            transport.pause_reading()
        try:
            yield
        finally:
            with contextlib.suppress(RuntimeError):
                transport.resume_reading()
