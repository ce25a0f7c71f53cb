"""Sends a running request's text to its journal: the first piece at once, then whatever piled up meanwhile together."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from shared.errors import Unavailable
from shared.job import Chunk, Event

if TYPE_CHECKING:
    from shared.journal import JournalWriter
    from shared.ledger import Settlement

UNSENT_CHARACTERS_MAX = 65_536
"""Beyond this the vendor is read no faster than the journal takes it."""


class ChunkWriter:
    """One flush at a time, in the background. While Redis is away text gathers and is sent later, until `patience_s`."""

    def __init__(self, journal: JournalWriter, *, retry_s: float, patience_s: float) -> None:
        self._journal = journal
        self._retry_s = retry_s
        self._patience_s = patience_s
        self._unsent: list[str] = []
        self._unsent_characters = 0
        self._flush: asyncio.Task[None] | None = None

    async def write(self, text: str) -> None:
        """Take a piece of text. Raises what an earlier flush raised: `LeaseLost` or `Unavailable`."""
        self._unsent.append(text)
        self._unsent_characters += len(text)
        if self._flush is None or self._flush.done():
            await self._collect()
            self._flush = asyncio.create_task(self._send())
        elif self._unsent_characters > UNSENT_CHARACTERS_MAX:
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
            text, self._unsent, self._unsent_characters = "".join(self._unsent), [], 0
            await self._append(Chunk(text))

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
