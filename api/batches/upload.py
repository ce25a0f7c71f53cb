"""Reads a batch's lines or requests as they arrive, and stores them in pieces with COPY.

Only the present piece and a fingerprint of every `custom_id` are in memory; `UploadMemory` limits their size.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from codecs import BOM_UTF8
from collections.abc import AsyncIterator, Callable, Iterator
from typing import TYPE_CHECKING

import structlog

from api.batches.lines import NumberedPart, Parts
from api.batches.reading import Reader
from api.http.encoding import utf8_chunks
from api.http.uploads import UploadMemory
from shared.batches.files import Contents, File, Line, LineError, abandon_upload, add_lines, finish_file
from shared.batches.quota import FILE_BYTES, Announced, TakenQuota, bytes_of
from shared.errors import InvalidRequest, RebootError, RequestTooLarge
from shared.lanes import tier_of

if TYPE_CHECKING:
    from api.services import Services
    from shared.ledger.api_keys import ApiKey

log = structlog.get_logger(__name__)
LINES_PER_COPY, BYTES_PER_COPY = 500, 500_000
LONG_LINE_BYTES = 250_000
"""A line that has this many bytes before its end waits for more memory."""
PIECE_S = 5.0
"""Seconds after which a piece is stored, however small it is."""
TURN_S = 0.002
"""Seconds for which lines are parsed before other uploads have their turn."""


class Upload:
    """One file that is being uploaded with `key`."""

    def __init__(
        self,
        services: Services,
        file: File,
        key: ApiKey,
        reader: Reader,
        parts: Parts,
        memory: UploadMemory,
        announced: Announced,
    ) -> None:
        self._services = services
        self._file = file
        self._key = key
        self._memory = memory
        self._quota = TakenQuota(services.pool, file, announced, services.settings)
        self._reader = reader
        self._parts = parts
        self._piece: list[Line] = []
        self._piece_bytes = 0
        self._stored_at = self._turn_began_at = time.monotonic()
        self._lines = self._bytes = 0
        self._counted = FILE_BYTES
        self._hash = hashlib.sha256(f"{parts.part}s\0".encode())

    @property
    def errors(self) -> list[LineError]:
        """The first lines that were not understood."""
        return self._reader.errors

    @property
    def fingerprint(self) -> bytes:
        """SHA-256 of all lines as they were understood, with their tiers and ids."""
        return self._hash.digest()

    async def receive(self, chunks: AsyncIterator[bytes], completed: Callable[[File], File]) -> File:
        """Store everything; the file is hidden until it is complete. `completed` adds to the file what is known only at
        its end. Raises `InvalidRequest`, `RequestTooLarge`, `InsufficientCredit`, `KeyEnded`, `Overloaded` or
        `Unavailable`. After an error, and if the caller goes away, nothing of the file stays.
        """
        try:
            await self._take_all(chunks)
            file, has = completed(self._file), Contents(self._bytes, self._counted, self._lines, self._reader.bad)
            return await finish_file(self._services.pool, file, self._key.id, has)
        except BaseException:
            await self._abandon()
            raise

    async def _take_all(self, chunks: AsyncIterator[bytes]) -> None:
        parts = self._parts
        async for chunk in utf8_chunks(self._within_bounds(chunks)):
            await self._take(parts.of(chunk))
            await self._adapt(parts.under_way)
        await self._take(parts.last())
        if not self._lines:
            raise InvalidRequest("The file has no lines: send one JSON object per line.")
        await self._store()

    async def _within_bounds(self, chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """Pass chunks on. Raises `RequestTooLarge` if there are too many bytes."""
        bytes_max = self._services.settings.batch_bytes_max
        async for chunk in chunks:
            self._bytes += len(chunk)
            if self._bytes > bytes_max:
                raise RequestTooLarge(f"The {self._parts.whole} is larger than {bytes_max} bytes: split it.")
            yield chunk

    async def _take(self, parts: Iterator[NumberedPart]) -> None:
        more = True
        while more:
            async with self._services.uploads.reading:
                more = self._read_some(parts)
            if self._is_full:
                await self._store()
            if more:
                await asyncio.sleep(0)
                self._turn_began_at = time.monotonic()

    def _read_some(self, parts: Iterator[NumberedPart]) -> bool:
        """Parse lines until the piece is full or the turn is over. False if there are no more lines."""
        for number, part in parts:
            text = part and part.removeprefix(BOM_UTF8)  # each file that was joined to this one may begin with one
            if text is None or text:
                self._add(number, text)
            if self._is_full or time.monotonic() - self._turn_began_at > TURN_S:
                return True
        return False

    def _add(self, number: int, text: bytes | None) -> None:
        most = self._services.settings.batch_lines_max
        if self._lines >= most:
            raise InvalidRequest(f"The {self._parts.whole} has more than {most} {self._parts.part}s: split it.")
        self._lines += 1
        line = self._reader.read(number, text)
        tier = b"\0flex" if tier_of(line.feed or "") == "flex" else b""
        self._hash.update((line.asked or text or b"") + tier + f"\0{line.custom_id}\n".encode())
        self._piece.append(line)
        size = bytes_of(line, len(text or b"") + 1)
        self._piece_bytes += size
        self._counted += size

    @property
    def _is_full(self) -> bool:
        return len(self._piece) >= LINES_PER_COPY or self._piece_bytes >= BYTES_PER_COPY

    async def _adapt(self, under_way: int) -> None:
        """Reserve more memory while a long line arrives and give it back afterwards; store lines that have waited
        `PIECE_S`; let the sweep see that the upload is alive.
        """
        if under_way > LONG_LINE_BYTES:
            await self._memory.widen()
        elif self._memory.is_wide:
            await self._store()
            self._memory.narrow()
        elif time.monotonic() - self._stored_at > PIECE_S:
            await self._store()
        await self._quota.show_alive()

    async def _store(self) -> None:
        await self._quota.reach(self._counted)
        if self._piece:
            await add_lines(self._services.pool, self._file, self._piece)
        self._piece, self._piece_bytes, self._stored_at = [], 0, time.monotonic()

    async def _abandon(self) -> None:
        try:
            await asyncio.shield(abandon_upload(self._services.pool, self._file))
        except RebootError as error:
            # a sweep gives the upload up later
            log.warning("broken upload not abandoned", file=self._file.id, reason=error.message)
