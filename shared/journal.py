"""The journal: a request's events in order, kept in Redis while it runs and for a while after.

An event's position is its sequence number. Appending also publishes to the front door that is waiting, in the same step,
so what the front door heard can always be checked against, and filled up from, the journal.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from shared import keys
from shared.job import Event, pack, unpack_event
from shared.ledger_rows import Settlement

if TYPE_CHECKING:
    import redis.asyncio

    from shared.scripts import Scripts


VOID = -3


class LeaseLost(Exception):
    """Another worker owns the job now, or it is gone: whatever this attempt still does must have no effect."""


class RequestVoid(Exception):
    """The caller was told that the request did not run: it may end, but nothing may be charged for it."""


class Heard(NamedTuple):
    """One message of a front door's channel."""

    request_id: str
    sequence: int
    event: Event


class JournalWriter:
    """Appends one request's events under one claim. Not for concurrent use: one append at a time.

    The journal is kept for `live_s` after an event, and for `keep_s` after the last one.
    """

    def __init__(
        self,
        scripts: Scripts,
        request_id: str,
        epoch: int,
        *,
        live_s: float,
        keep_s: float | None = None,
        length: int = 0,
    ) -> None:
        self._scripts = scripts
        self.request_id = request_id
        self._epoch = epoch
        self._live_ms = int(live_s * 1000)
        self._keep_ms = self._live_ms if keep_s is None else int(keep_s * 1000)
        self.length = length

    async def append(self, event: Event, settlement: Settlement | None = None) -> None:
        """Append and publish; with the last event comes the settle record, in the same step.

        Raises `LeaseLost`, `RequestVoid` instead of taking a settlement that charges for a void request, or `Unavailable`
        when Redis did not answer: the same append may then be tried again.
        """
        charged = settlement is not None and settlement.charge_nano > 0
        length = await self._scripts.call(
            "append",
            [keys.journal(self.request_id), keys.run(self.request_id), keys.SETTLES],
            [
                self.request_id,
                self._epoch,
                self.length,
                pack(event),
                self._keep_ms if settlement else self._live_ms,
                pack(settlement) if settlement else b"",
                "charged" if charged else "",
            ],
        )
        if length == VOID:
            raise RequestVoid(self.request_id)
        if length < 0:
            raise LeaseLost(self.request_id)
        self.length = length


async def read_journal(client: redis.asyncio.Redis, request_id: str, first: int = 0, count: int = 0) -> list[Event]:
    """Events from `first` on, at most `count` (0: all). Raises redis-py's errors."""
    last = first + count - 1 if count else -1
    entries = await client.lrange(keys.journal(request_id), first, last)  # type: ignore[misc] # typed for both clients
    return [unpack_event(data) for data in entries]


def parse_message(data: bytes) -> Heard:
    """A message as `append.lua` publishes it: `<request id> <sequence> <event>`."""
    request_id, sequence, event = data.split(b" ", 2)
    return Heard(request_id.decode(), int(sequence), unpack_event(event))
