"""Sends a running request's answer to its journal: the first part at once, then whatever piled up meanwhile together."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from shared.chat import CallPiece
from shared.errors import Unavailable
from shared.job import AnswerPart, Chunk, Event, bytes_of

if TYPE_CHECKING:
    from shared.journal import JournalWriter
    from shared.ledger_rows import Settlement

UNSENT_BYTES_MAX = 65_536
"""Beyond this the vendor is read no faster than the journal takes it."""


class ChunkWriter:
    """One flush at a time, in the background. While Redis is away text gathers and is sent later, until `patience_s`."""

    def __init__(self, journal: JournalWriter, *, retry_s: float, patience_s: float) -> None:
        self._journal = journal
        self._retry_s = retry_s
        self._patience_s = patience_s
        self._unsent: list[AnswerPart] = []
        self._unsent_bytes = 0
        self._flush: asyncio.Task[None] | None = None

    async def write(self, part: AnswerPart) -> None:
        """Take a part of the answer. Raises what an earlier flush raised: `LeaseLost` or `Unavailable`."""
        self._unsent.append(part)
        self._unsent_bytes += bytes_of(part)
        if self._flush is None or self._flush.done():
            await self._collect()
            self._flush = asyncio.create_task(self._send())
        elif self._unsent_bytes > UNSENT_BYTES_MAX:
            await self._collect()

    async def end(self, event: Event, settlement: Settlement) -> None:
        """Send what is left, then the last event with its settle record. Raises like `write`."""
        if self._unsent or self._flush:
            await self._collect()
            await self._send()
        await self._append(event, settlement)

    async def settle_down(self) -> None:
        """Wait for a flush that is under way, whatever becomes of it. It is never cancelled: a half-done append could not
        be told from a missing one.
        """
        if self._flush:
            await asyncio.wait({self._flush})
            self._flush.exception()  # looked at: a lost lease is no exception that nobody retrieved

    async def _collect(self) -> None:
        if self._flush:
            await asyncio.wait({self._flush})  # unlike awaiting the task, this does not cancel it with us
            flush, self._flush = self._flush, None
            flush.result()

    async def _send(self) -> None:
        while self._unsent:
            parts, self._unsent, self._unsent_bytes = self._unsent, [], 0
            for part in merged(parts):
                await self._append(part)

    async def _append(self, event: Event, settlement: Settlement | None = None) -> None:
        loop = asyncio.get_running_loop()
        gives_up_at = loop.time() + self._patience_s
        while True:
            try:
                return await self._journal.append(event, settlement)
            except Unavailable:
                if loop.time() > gives_up_at:
                    raise
                await asyncio.sleep(self._retry_s)


def merged(parts: list[AnswerPart]) -> list[AnswerPart]:
    """Neighbours of one kind, of one tool call, become one."""
    together: list[list[AnswerPart]] = []
    for part in parts:
        if together and _goes_on(together[-1][0], part):
            together[-1].append(part)
        else:
            together.append([part])
    return [_joined(group) for group in together]


def _goes_on(first: AnswerPart, part: AnswerPart) -> bool:
    if isinstance(first, CallPiece) and isinstance(part, CallPiece):
        return part.index == first.index and part.id is None and part.name is None
    return isinstance(first, Chunk) and isinstance(part, Chunk)


def _joined(group: list[AnswerPart]) -> AnswerPart:
    first = group[0]
    if isinstance(first, Chunk):
        return Chunk("".join(part.text for part in group if isinstance(part, Chunk)))
    arguments = "".join(part.arguments for part in group if isinstance(part, CallPiece))
    return CallPiece(first.index, arguments, first.id, first.name)
