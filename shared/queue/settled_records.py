"""Puts settle records aside after their commit, because Postgres may fail over to a standby that lacks the commit. Then the
kept records are settled again (`workers/sweeps/settled_records.py`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec
import structlog

from shared.errors import Unavailable
from shared.job import pack
from shared.ledger.settlement import Outcome, Settlement
from shared.stores import keys

if TYPE_CHECKING:
    from shared.settings import Settings
    from shared.stores.redis_connections import Word
    from shared.stores.scripts import Scripts

log = structlog.get_logger(__name__)
WINDOW_S = 0.1
RECORDS_LIVE_MS = 86_400_000
"""Milliseconds after which the records expire if no worker sweeps them any more."""


class SettledRecords:
    """`put_aside` is called by a worker's settler after a commit, `keep_void` by a front door's."""

    def __init__(self, scripts: Scripts, settings: Settings) -> None:
        self._scripts = scripts
        self._kept_max = settings.settled_kept_max
        self._kept_bytes_max = settings.settled_kept_bytes_max
        self._kept_s = settings.settled_kept_s
        self._retry_s = settings.settle_retry_s
        self._bytes_max = settings.settled_record_bytes_max
        self._committed: list[tuple[Settlement, Outcome]] = []

    async def put_aside(self, settlement: Settlement, outcome: Outcome) -> None:
        """Put the record aside. No caller waits for that, so the first record waits for a moment, and all records that
        have come meanwhile are put aside together. A record that stays is settled again, without effect.
        """
        self._committed.append((settlement, outcome))
        await asyncio.sleep(WINDOW_S)
        taken, self._committed = self._committed, []
        if taken:
            await self._move(taken)

    async def keep_void(self, settlement: Settlement, outcome: Outcome) -> None:
        """Keep a record for a request whose caller was told that it is free, as soon as Redis answers; nothing is kept
        for other requests.
        """
        if not settlement.void or outcome != "settled":
            return
        loop = asyncio.get_running_loop()
        gives_up_at = loop.time() + self._kept_s
        while True:
            if await self._move([(settlement, outcome)]) or loop.time() > gives_up_at:
                return
            await asyncio.sleep(self._retry_s)

    async def _move(self, committed: Sequence[tuple[Settlement, Outcome]]) -> bool:
        """Move the settle records aside in Redis; False if Redis cannot be reached."""
        pairs: list[Word] = [word for one, outcome in committed for word in (one.id, self._kept_of(one, outcome))]
        names = [keys.SETTLES, keys.SETTLED, keys.SETTLED_AT]
        try:
            await self._scripts.call("forget", names, [self._kept_max, RECORDS_LIVE_MS, self._kept_bytes_max, *pairs])
        except Unavailable as error:
            log.warning("settle records not put aside", reason=error.message)
            return False
        return True

    def _kept_of(self, settlement: Settlement, outcome: Outcome) -> bytes | str:
        """The record for `forget.lua`. A quarantined settlement is left to an operator. An uncharged request is kept as
        a release. Of a long answer only the price is kept; if it is lost, a batch line is run again.
        """
        if outcome == "quarantined":
            return "-"
        if outcome in {"void", "unbilled"}:
            return pack(_uncharged(settlement, void=outcome == "void"))
        if settlement.void:
            return pack(settlement)  # front doors write no settle records
        if settlement.answer is None or len(settlement.answer) <= self._bytes_max:
            return ""
        return "-" if settlement.batch_line else pack(msgspec.structs.replace(settlement, answer=None))


def _uncharged(settlement: Settlement, *, void: bool) -> Settlement:
    """The settlement that the books have: a release without a charge."""
    error = Unavailable("The request was lost on its way; nothing was charged.")
    return Settlement.uncharged(
        settlement.id,
        settlement.account_id,
        error,
        ended_at=settlement.ended_at,
        calls=settlement.calls,
        void=void,
    )
