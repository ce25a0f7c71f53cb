"""The journal: a request's events in order, kept in Redis while it runs and for a while after.

An event's position is its sequence number. Appending also publishes to the front door that is waiting, in the same step,
so what the front door heard can always be checked against, and filled up from, the journal.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from arq.constants import job_key_prefix

from shared.job import Event, pack, unpack_event
from shared.ledger.rows import Settlement
from shared.stores import keys

if TYPE_CHECKING:
    from shared.queue.byte_limits import Ending
    from shared.queue.claims import Claim
    from shared.stores.redis_connections import Word
    from shared.stores.scripts import Scripts


VOID = -3
CHANNELS_MAX = 16
"""Front doors that are told of one request."""


class LeaseLost(Exception):
    """Another worker owns the job now, or it is gone: whatever this attempt still does must have no effect."""


class RequestVoid(Exception):
    """The caller was told that the request did not run: it may end, but nothing may be charged for it."""


class Heard(NamedTuple):
    """One event on a front door's channel. `begun` says who began the journal that it stands in; empty: that is not known."""

    request_id: str
    sequence: int
    event: Event
    begun: bytes = b""


class Reading(NamedTuple):
    """A part of a journal; `begun` as in `Heard`. `alive`: somebody works on the request, or its end is not settled yet.
    `left_out` is the size of the first event, when it is larger than what was asked for.
    """

    alive: bool
    begun: bytes
    entries: list[bytes]
    left_out: int = 0


class Append(NamedTuple):
    """An event on its way to `place` of a journal, counted from 0, with the `upstream` that it comes from; with the last one
    comes the settle record, and how the job ends (`Queue.ending`), when it does.
    """

    request_id: str
    epoch: int
    owner: str
    place: int
    event: bytes
    live_ms: int
    upstream: str = ""
    record: bytes = b""
    charges: bool = False
    ending: str = ""


async def append_all(scripts: Scripts, appends: Sequence[Append]) -> list[int]:
    """Append and publish in one step; for each event the journal's length after it, or a negative number that
    `Journal.after` understands. Raises `Unavailable` when Redis did not answer: the same may then be sent again.
    """
    names = [keys.SETTLES]
    arguments: list[Word] = []
    for one in appends:
        names += keys.journal(one.request_id), keys.run(one.request_id)
        arguments += (*one[:-2], "charged" if one.charges else "", one.ending)
    answers: list[int] = await scripts.call("append", names, arguments)
    return answers


class Journal:
    """One request's journal as one of its claims writes it: `length` is where the next event goes.

    It is kept for `live_s` after the first event, and for `keep_s` after the last one, with which the job ends as `ending`
    says. `bytes` is about how much has been written.
    """

    def __init__(
        self, claim: Claim, *, live_s: float, keep_s: float | None = None, ending: Ending | None = None
    ) -> None:
        self.request_id = claim.id
        self._fence = claim.epoch, claim.owner
        self._live_ms = int(live_s * 1000)
        self._keep_ms = self._live_ms if keep_s is None else int(keep_s * 1000)
        self._ending = ending
        self.length = 0
        self.bytes = 0
        self.upstream = ""
        """That is called now."""

    def append(self, place: int, event: Event, settlement: Settlement | None = None) -> Append:
        """How the event gets there."""
        packed = pack(event)
        self.bytes += len(packed)
        if settlement is None:
            return Append(self.request_id, *self._fence, place, packed, self._live_ms, self.upstream)
        was_settled = settlement.hold_state == "settled"
        return Append(
            self.request_id,
            *self._fence,
            place,
            packed,
            self._keep_ms,
            self.upstream,
            pack(settlement),
            settlement.charge_nano > 0,
            self._ending.words(self.bytes, was_settled=was_settled) if self._ending else "",
        )

    def after(self, answer: int) -> None:
        """Take what `append_all` answered. Raises `LeaseLost`, or `RequestVoid` when a settlement that charges for a void
        request was not taken.
        """
        if answer == VOID:
            raise RequestVoid(self.request_id)
        if answer < 0:
            raise LeaseLost(self.request_id)
        self.length = answer


async def read_on(
    scripts: Scripts,
    request_id: str,
    first: int,
    *,
    events_max: int,
    bytes_max: int,
    channel: str = "",
    first_bytes_max: int | None = None,
) -> Reading:
    """The journal from `first` on, as much as is allowed, but at least one event, unless that is larger than
    `first_bytes_max`; what comes later is told to the channel of who reads, should Redis have forgotten it. Raises
    `Unavailable`.
    """
    names = [keys.journal(request_id), job_key_prefix + request_id, keys.SETTLES, keys.run(request_id)]
    first_max = "" if first_bytes_max is None else first_bytes_max
    alive, begun, left_out, *entries = await scripts.call(
        "read", names, [request_id, first, events_max, bytes_max, channel, CHANNELS_MAX, first_max]
    )
    return Reading(bool(alive), begun, entries, left_out)


def parse_message(data: bytes) -> Iterator[Heard]:
    r"""The events of a message as `append.lua` publishes it, each as `<request id> <sequence> <bytes> <begun>\n<event>`.
    Workers of the previous release leave out the fourth word. Raises `ValueError`, of which msgspec's errors are, for
    anything else.
    """
    begin = 0
    while begin < len(data):
        end = data.index(b"\n", begin) + 1
        request_id, sequence, size, *begun = data[begin : end - 1].split(b" ")
        begin = end + int(size)
        yield Heard(request_id.decode(), int(sequence), unpack_event(data[end:begin]), *begun)
