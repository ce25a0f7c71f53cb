"""Makes a request of a batch line: its reservation before the line is fed, and its job afterwards."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from shared.batches.batches import Ask, unpack_ask
from shared.batches.bounds import require_at_most
from shared.catalogue.models import Catalogue, Model
from shared.errors import RebootError
from shared.footprint import footprint_of
from shared.ids import created_at, new_id
from shared.job import Job
from shared.lanes import fed_queue, lane_of, tier_of
from shared.ledger.chains import PinnedModel, chain_from_json
from shared.ledger.pinned_price import PinnedPrice, price_of
from shared.ledger.rows import Reservation
from shared.ledger.settlement import ItemKey
from shared.money import COST_MAX, NanoUsd
from workers.batches.chains import Candidate, Chains, Fallbacks, fallbacks_of

if TYPE_CHECKING:
    import asyncpg

    from shared.settings import Settings
    from workers.batches.cursors import Cursor


HELD_AT = ("hold_input_price", "hold_output_price")


class StoredLine(NamedTuple):
    """A line as it is stored: its number, and its packed request."""

    number: int
    asked: bytes


class RunnableLine(NamedTuple):
    """A line that can be run, with its fallback models; it becomes the item `item`."""

    item: ItemKey
    reservation: Reservation
    ask: Ask
    model: Model
    others: tuple[Candidate, ...] = ()


class UnfitLine(NamedTuple):
    """A line that cannot be run because of `error`."""

    number: int
    bytes: int
    error: RebootError


class ItemMaker:
    """Makes requests of lines, at the prices that are in force when the lines are fed."""

    def __init__(self, catalogue: Catalogue, settings: Settings) -> None:
        self._chains = Chains(catalogue, settings)
        self._settings = settings

    def make(self, cursor: Cursor, stored: StoredLine) -> RunnableLine | UnfitLine:
        """Parse a line of the cursor's batch, and make what is needed to hold for it."""
        try:
            ask = _read(stored.asked)
            line = self._line(cursor, stored, ask, self._chains.of(ask, tier_of(cursor.feed)))
            require_at_most(COST_MAX, _bound_of(line))
        except RebootError as error:
            return UnfitLine(stored.number, len(stored.asked), error)
        return line

    def _line(self, cursor: Cursor, stored: StoredLine, ask: Ask, candidates: tuple[Candidate, ...]) -> RunnableLine:
        first, *others = candidates
        promised = tuple(map(self._chains.pinned, candidates))
        chain = None
        if ask.others or ask.passed:
            chain = (*self._chains.passed(ask, first.model.service_tier), *promised)
        reservation = self._reservation(cursor, stored, first, promised, chain)
        has_fallbacks = chain is not None and len(chain) > 1
        item = ItemKey(cursor.day, cursor.batch_id, stored.number)
        # a job with fallbacks has the request as it was sent, which each of its models fits to itself
        return RunnableLine(item, reservation, ask if has_fallbacks else first.ask, first.model, tuple(others))

    def _reservation(
        self,
        cursor: Cursor,
        stored: StoredLine,
        first: Candidate,
        promised: Sequence[PinnedModel],
        chain: tuple[PinnedModel, ...] | None,
    ) -> Reservation:
        """The reservation of a hold that covers every model of the line."""
        settings, (model, ask) = self._settings, first
        request_id = new_id("req")
        moment = created_at(request_id)
        deadline = min(moment + timedelta(seconds=settings.batch_item_deadline_s), cursor.expires_at)
        wanted = max(one.output_limit for one in promised)
        return Reservation(
            id=request_id,
            created_at=moment,
            account_id=cursor.account_id,
            key_id=cursor.key_id,
            model=model.name,
            vendor_model=model.vendor_model,
            provider=model.provider,
            api=model.api,
            lane=lane_of(fed_queue(cursor.feed)),
            stream=False,
            **{name: getattr(promised[0], name) for name in (*PinnedPrice.__struct_fields__, *HELD_AT)},
            input_bound=promised[0].input_bound,
            output_limit=wanted,
            output_floor=wanted,
            deadline_at=deadline,
            expires_at=deadline + timedelta(seconds=2 * settings.lease_s + settings.hold_grace_s),
            # an item's answer is kept as long as its batch's results; here only that it is kept counts
            keep_until=datetime.combine(cursor.day, datetime.min.time(), UTC)
            + timedelta(days=settings.batch_days_kept),
            metadata=ask.metadata,
            batch_id=cursor.batch_id,
            batch_number=stored.number,
            batch_day=cursor.day,
            batch_bytes=len(stored.asked),
            chain=chain,
        )

    def job_again(self, row: asyncpg.Record) -> Job:
        """The job of an item that Redis has lost, made from its request and its line. Raises `RebootError` if the line can
        no longer be run.
        """
        as_sent = _read(row["asked"])
        (model, ask), *others = self._chains.of(as_sent, tier_of(row["feed"]))
        model = msgspec.structs.replace(model, price=price_of(row))
        chain = chain_from_json(row["chain"]) if row["chain"] else ()
        fallbacks = fallbacks_of(as_sent, others, chain)
        admission = Admission(
            row["request_id"],
            row["account_id"],
            ItemKey(row["batch_day"], row["batch_id"], row["batch_number"]),
            row["output_limit"],
            row["hold_nano"],
            row["deadline_at"],
            row["keep_until"],
        )
        return _job(admission, model, as_sent if any(fallbacks) else ask, fallbacks)


def _read(asked: bytes) -> Ask:
    """Decode the request of a line. Raises `RebootError` if it is unreadable."""
    try:
        return unpack_ask(asked)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RebootError("The line is kept in a form that cannot be read any more: send it again.") from error


def _bound_of(line: RunnableLine) -> NanoUsd:
    """An upper bound of the line's hold. It serves to refuse amounts that cannot be counted."""
    reservation = line.reservation
    alone = line.model.price.hold(reservation.input_bound, reservation.output_limit)
    return max((alone, *(one.price.hold(one.input_bound, one.output_limit) for one in reservation.chain or ())))


def as_fed(line: RunnableLine | UnfitLine, key_id: str, day: date) -> Reservation | dict[str, Any]:
    """The argument of the SQL function `feed` for the line."""
    if isinstance(line, RunnableLine):
        return line.reservation
    return {
        "key_id": key_id,
        "model": "",
        "batch_number": line.number,
        "batch_day": day,
        "batch_bytes": line.bytes,
        "error_code": line.error.code,
        "error_message": line.error.message,
    }


class Admission(NamedTuple):
    """The part of a job that the admission of its request has fixed."""

    request_id: str
    account_id: str
    item: ItemKey
    output_limit: int
    hold_nano: NanoUsd
    deadline_at: datetime
    keep_until: datetime | None


def job_of(line: RunnableLine, hold_nano: NanoUsd) -> Job:
    """The job of a line that is held for."""
    reservation, chain = line.reservation, line.reservation.chain or ()
    # in the chain, the line's own model comes after those that were passed over and before the others
    own_limit = chain[len(chain) - len(line.others) - 1].output_limit if chain else reservation.output_limit
    admission = Admission(
        reservation.id,
        reservation.account_id,
        line.item,
        own_limit,
        hold_nano,
        reservation.deadline_at,
        reservation.keep_until,
    )
    return _job(admission, line.model, line.ask, fallbacks_of(line.ask, line.others, chain))


def _job(admission: Admission, model: Model, ask: Ask, fallbacks: Fallbacks) -> Job:
    return Job(
        id=admission.request_id,
        account_id=admission.account_id,
        model=model,
        price=model.price,
        messages=ask.messages,
        sampling=ask.sampling,
        tools=ask.tools,
        stream=False,
        output_limit=admission.output_limit,
        hold_nano=admission.hold_nano,
        deadline_ms=int(admission.deadline_at.timestamp() * 1000),
        keep_until=admission.keep_until,
        batch_line=admission.item,
        footprint=footprint_of(ask.chat),
        fallbacks=fallbacks.models,
        tried=fallbacks.tried,
    )
