"""The journal: a request's events in order, kept in Redis while the request runs and for a while after it.

An event's position is its sequence number. Appending an event also publishes it to the front doors that wait for it, in the
same step, so a front door can always check what it heard, and fill gaps, from the journal.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from arq.constants import job_key_prefix

from shared.job import Event, pack, unpack_event
from shared.ledger.settlement import Settlement
from shared.stores import keys

if TYPE_CHECKING:
    from shared.queue.byte_limits import Ending
    from shared.queue.claims import Claim
    from shared.stores.redis_connections import Word
    from shared.stores.scripts import Scripts


VOID = -3
CHANNELS_MAX = 16
"""The most front doors that get the events of one request."""


class LeaseLost(Exception):
    """Another worker owns the job now, or the job is gone: this attempt must have no further effect."""


class RequestVoid(Exception):
    """The caller was told that the request did not run: it may end, but it must not be charged."""


class Heard(NamedTuple):
    """One event from a front door's channel. `begun_by` is the owner of the claim that began the journal; empty if that is
    unknown.
    """

    request_id: str
    sequence: int
    event: Event
    begun_by: bytes = b""


class Reading(NamedTuple):
    """A part of a journal; `begun_by` is as in `Heard`. `alive` is true while the job is queued or running, and while
    its end is not settled. `left_out` is the size of the first event if it exceeds the limit.
    """

    alive: bool
    begun_by: bytes
    entries: list[bytes]
    left_out: int = 0


class Append(NamedTuple):
    """An event to be written at `place` of a journal (counted from 0), with the `upstream` that it comes from. The last
    event also carries the settle record and, if the job ends with it, how the job ends (`Queue.ending`).
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
    """Append and publish in one step. For each event the result is the journal's new length, or a negative number that
    `Journal.after` interprets. Raises `Unavailable` if Redis does not answer; then the same may be sent again.
    """
    names = [keys.SETTLES]
    arguments: list[Word] = []
    for one in appends:
        names += keys.journal(one.request_id), keys.run(one.request_id)
        arguments += (*one[:-2], "charged" if one.charges else "", one.ending)
    answers: list[int] = await scripts.call("append", names, arguments)
    return answers


class Journal:
    """One request's journal for the claim that writes it. `length` is the place of the next event. Redis keeps the
    journal for `live_s` after the first event and for `keep_s` after the last one, with which the job ends as `ending`
    says. `bytes` is the approximate size written so far.
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
        """The upstream that is called now."""

    def append(self, place: int, event: Event, settlement: Settlement | None = None) -> Append:
        """Build (do not send) the append for this event."""
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
        """Take the answer of `append_all`. Raises `LeaseLost`, or `RequestVoid` if a settlement that charges was refused
        for a void request.
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
    """Read the journal from `first` on, up to the limits; at least one event, unless it is larger than
    `first_bytes_max`. `channel` is registered again as a reader's, in case Redis has forgotten it. Raises
    `Unavailable`.
    """
    names = [keys.journal(request_id), job_key_prefix + request_id, keys.SETTLES, keys.run(request_id)]
    first_max = "" if first_bytes_max is None else first_bytes_max
    alive, begun, left_out, *entries = await scripts.call(
        "read", names, [request_id, first, events_max, bytes_max, channel, CHANNELS_MAX, first_max]
    )
    return Reading(bool(alive), begun, entries, left_out)


def parse_message(data: bytes) -> Iterator[Heard]:
    r"""The events of a message that `append.lua` published, each as `<request id> <sequence> <bytes> <begun>\n<event>`.
    Workers of the previous release leave out the fourth word. Raises `ValueError` (msgspec's errors derive from it) for
    anything else.
    """
    begin = 0
    while begin < len(data):
        end = data.index(b"\n", begin) + 1
        request_id, sequence, size, *begun = data[begin : end - 1].split(b" ")
        begin = end + int(size)
        yield Heard(request_id.decode(), int(sequence), unpack_event(data[end:begin]), *begun)
