"""Journals written one event at a time."""

from __future__ import annotations

from shared.job import Event
from shared.ledger.settlement import Settlement
from shared.queue.byte_limits import Ending
from shared.queue.claims import Claim
from shared.queue.journal import Journal, append_all
from shared.stores.scripts import Scripts


class DirectJournal:
    """One claim's way to its request's journal; `length` is where the next event goes."""

    def __init__(
        self,
        scripts: Scripts,
        claim: Claim,
        *,
        live_s: float,
        length: int = 0,
        ending: Ending | None = None,
        upstream: str = "",
    ) -> None:
        self._scripts = scripts
        self._journal = Journal(claim, live_s=live_s, ending=ending)
        self._journal.length = length
        self._journal.upstream = upstream
        self.request_id = claim.id

    @property
    def length(self) -> int:
        return self._journal.length

    @length.setter
    def length(self, length: int) -> None:
        self._journal.length = length

    async def append(self, event: Event, settlement: Settlement | None = None) -> None:
        """Raises `LeaseLost`, `RequestVoid` or `Unavailable`."""
        (answer,) = await append_all(self._scripts, [self._journal.append(self.length, event, settlement)])
        self._journal.after(answer)
