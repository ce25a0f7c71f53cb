"""Limits of the uploads that a front door receives at once: their number, their memory, and their turns."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from shared.errors import Overloaded, RateLimited
from shared.runtime.byte_budget import ByteBudget, HeldBytes

if TYPE_CHECKING:
    from shared.settings import Settings

BASE_BYTES = 3_000_000
"""Bytes that every upload takes: what was received and not read (aiohttp's limit of twice 64 KB, and one read of the
socket of up to 256 KB), the piece that is being read, the beginning of a line, the lines that wait for Postgres, and
the fingerprints of their ids.
"""


class Uploads:
    """The uploads of one process. An account has a share of the places, and half of the memory for long lines."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._under_way: Counter[str] = Counter()
        self._budget = ByteBudget(
            "uploads",
            total=settings.uploads_bytes_max,
            share=settings.uploads_bytes_max // 2,
            small=BASE_BYTES,
            reserve=settings.uploads_max * BASE_BYTES,
        )
        self.reading = asyncio.Lock()
        """Held while lines are parsed, so that only one upload parses in each turn of the event loop."""

    @asynccontextmanager
    async def one_more(self, account_id: str) -> AsyncIterator[UploadMemory]:
        """A place for an upload. Raises `RateLimited` or `Overloaded` if there is none."""
        self._refuse_beyond(account_id)
        self._under_way[account_id] += 1
        try:
            with await self._budget.hold(BASE_BYTES, account_id, within_s=self._settings.body_within_s):
                memory = UploadMemory(self._budget, account_id, self._settings)
                try:
                    yield memory
                finally:
                    memory.narrow()
        finally:
            self._under_way[account_id] -= 1
            if not self._under_way[account_id]:
                del self._under_way[account_id]

    def _refuse_beyond(self, account_id: str) -> None:
        settings = self._settings
        if self._under_way[account_id] >= settings.uploads_per_account_max:
            raise RateLimited(
                f"This account is sending {settings.uploads_per_account_max} files, as many as it may at once: send this one"
                " when another has ended."
            )
        if self._under_way.total() >= settings.uploads_max:
            raise Overloaded(
                f"{settings.uploads_max} files are being sent, as many as fit in: send this one again shortly."
            )


class UploadMemory:
    """Memory that one upload may use beyond its base: that of a long line, twice, because the parsed line is kept as
    well.
    """

    def __init__(self, budget: ByteBudget, account_id: str, settings: Settings) -> None:
        self._budget = budget
        self._account_id = account_id
        self._within_s = settings.body_within_s
        self._size = 2 * settings.batch_line_bytes_max
        self._held: HeldBytes | None = None

    @property
    def is_wide(self) -> bool:
        """True while the upload holds memory for a long line."""
        return self._held is not None

    async def widen(self) -> None:
        """Wait for the memory of a long line. Raises `Overloaded` if there is none within `BODY_WITHIN_S`."""
        if self._held is None:
            self._held = await self._budget.hold(self._size, self._account_id, within_s=self._within_s)

    def narrow(self) -> None:
        """Release the memory of a long line."""
        if self._held is not None:
            self._held.release()
            self._held = None
