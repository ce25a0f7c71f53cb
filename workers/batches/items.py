"""Makes a request of a batch line: its reservation before the line is fed, and its job afterwards."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from shared.batches.batches import Ask, unpack_ask
from shared.batches.bounds import require_at_most
from shared.catalogue.abilities import unavailable
from shared.catalogue.apis import by_its_api
from shared.catalogue.caching import with_marks_taken, writes_of
from shared.catalogue.models import Catalogue, Model, output_limit, priced
from shared.errors import InvalidRequest, ModelNotFound, RebootError
from shared.footprint import footprint_of
from shared.ids import created_at, new_id
from shared.input_tokens import input_bound
from shared.job import Job
from shared.lanes import ServiceTier, fed_queue, lane_of, tier_of
from shared.ledger.chains import PinnedModel, chain_from_json, not_asked, pinned_model
from shared.ledger.pinned_price import PinnedPrice, price_of
from shared.ledger.rows import Reservation
from shared.ledger.settlement import BatchLine
from shared.money import COST_MAX, NanoUsd
from workers.batches.chains import Candidate, asks_of, fallback_fields

if TYPE_CHECKING:
    import asyncpg

    from shared.settings import Settings
    from workers.batches.cursors import Cursor


HELD_AT = ("hold_input_price", "hold_output_price")


class StoredLine(NamedTuple):
    """A line as it is stored: its number, and its packed request."""

    number: int
    asked: bytes


class Item(NamedTuple):
    """A line that is about to be fed, with its fallback models."""

    reservation: Reservation
    ask: Ask
    model: Model
    others: tuple[Candidate, ...] = ()


class Unfit(NamedTuple):
    """A line that cannot be run because of `error`."""

    number: int
    bytes: int
    error: RebootError


class ItemMaker:
    """Makes requests of lines, at the prices that are in force when the lines are fed."""

    def __init__(self, catalogue: Catalogue, settings: Settings) -> None:
        self._catalogue = catalogue
        self._settings = settings

    def make(self, cursor: Cursor, stored: StoredLine) -> Item | Unfit:
        """Parse a line of the cursor's batch, and make what is needed to hold for it."""
        try:
            line = _read(stored.asked)
            item = self._item(cursor, stored, line, self._chain(line, tier_of(cursor.feed)))
            require_at_most(COST_MAX, _bound_of(item))
        except RebootError as error:
            return Unfit(stored.number, len(stored.asked), error)
        return item

    def _chain(self, line: Ask, tier: ServiceTier) -> tuple[Candidate, ...]:
        """The line's model and its fallback models, without those that can no longer run it. Raises `ModelNotFound` if the
        first one has left the catalogue, or `InvalidRequest` if it can no longer honour the line.
        """
        first, *others = asks_of(line)
        chain = [self._candidate(first, tier)]
        for other in others:
            with suppress(RebootError):
                chain.append(self._candidate(other, tier))
        return tuple(chain)

    def _candidate(self, ask: Ask, tier: ServiceTier) -> Candidate:
        try:
            model = self._catalogue.serving(ask.model)
        except ModelNotFound as error:
            raise ModelNotFound(
                f"{error.message} This one is not offered any more: send the line with another."
            ) from error
        model = by_its_api(model, ask.sampling, ask.tools)
        option = unavailable(model, ask.sampling, ask.tools, ask.messages)
        if option is None and model.image_tokens is None and any(message.images() for message in ask.messages):
            option = "images"
        if option:
            raise InvalidRequest(
                f"{model.name} does not take `{option}` any more: send the line without, or to another model."
            )
        at_tier = self._catalogue.at_tier(model, tier)
        if at_tier is None:
            raise InvalidRequest(
                f"{model.name} has no price for {tier!r} any more: send the line without `service_tier`, or to another model."
            )
        marked = with_marks_taken(at_tier, ask.messages, ask.tools)
        model = priced(at_tier, self._settings.batch_price_factor)
        return Candidate(model, msgspec.structs.replace(ask, messages=marked.messages, tools=marked.tools))

    def _pinned(self, one: Candidate) -> PinnedModel:
        ask, model = one.ask, one.model
        bound = input_bound(ask.chat, model.image_tokens)
        writes = writes_of(model, ask.chat)
        wanted, _ = output_limit(model, ask.max_tokens, self._settings)
        return pinned_model(model, bound, writes, wanted)

    def _passed(self, line: Ask, tier: ServiceTier) -> Iterator[PinnedModel]:
        """The models that nobody could call when the line was sent."""
        for name in line.passed:
            with suppress(RebootError):
                yield not_asked(self._pinned(self._candidate(msgspec.structs.replace(line, model=name), tier)))

    def _item(self, cursor: Cursor, stored: StoredLine, line: Ask, candidates: tuple[Candidate, ...]) -> Item:
        first, *others = candidates
        promised = tuple(map(self._pinned, candidates))
        chain = None
        if line.others or line.passed:
            chain = (*self._passed(line, first.model.service_tier), *promised)
        reservation = self._reservation(cursor, stored, first, promised, chain)
        has_fallbacks = chain is not None and len(chain) > 1
        return Item(reservation, line if has_fallbacks else first.ask, first.model, tuple(others))

    def _reservation(
        self,
        cursor: Cursor,
        stored: StoredLine,
        first: Candidate,
        promised: Sequence[PinnedModel],
        chain: tuple[PinnedModel, ...] | None,
    ) -> Reservation:
        """The request for a hold that covers every model of the line."""
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
        line = _read(row["asked"])
        (model, ask), *others = self._chain(line, tier_of(row["feed"]))
        model = msgspec.structs.replace(model, price=price_of(row))
        chain = row["chain"] and chain_from_json(row["chain"])
        more = fallback_fields(line, others, chain or ())
        asked = line if any(more.values()) else ask
        return _job(row["request_id"], row["account_id"], model, asked, dict(row), **more)


def _read(asked: bytes) -> Ask:
    """Decode the line. Raises `RebootError` if it is unreadable."""
    try:
        return unpack_ask(asked)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RebootError("The line is kept in a form that cannot be read any more: send it again.") from error


def _bound_of(item: Item) -> NanoUsd:
    """An upper bound of the item's hold. It serves to refuse amounts that cannot be counted."""
    reservation = item.reservation
    alone = item.model.price.hold(reservation.input_bound, reservation.output_limit)
    return max((alone, *(one.price.hold(one.input_bound, one.output_limit) for one in reservation.chain or ())))


def as_fed(line: Item | Unfit, key_id: str, day: date) -> Reservation | dict[str, Any]:
    """The argument of the SQL function `feed` for the line."""
    if isinstance(line, Item):
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


def job_of(item: Item, hold_nano: NanoUsd) -> Job:
    """The job of an item that is held for."""
    reservation = item.reservation
    granted = msgspec.structs.asdict(reservation) | {"hold_nano": hold_nano}
    if reservation.chain:
        granted["output_limit"] = reservation.chain[len(reservation.chain) - len(item.others) - 1].output_limit
    more = fallback_fields(item.ask, item.others, reservation.chain or ())
    return _job(reservation.id, reservation.account_id, item.model, item.ask, granted, **more)


def _job(
    request_id: str,
    account_id: str,
    model: Model,
    ask: Ask,
    granted: Mapping[str, Any],
    **more: Any,  # noqa: ANN401 - fields of a job
) -> Job:
    return Job(
        id=request_id,
        account_id=account_id,
        model=model,
        price=model.price,
        messages=ask.messages,
        sampling=ask.sampling,
        tools=ask.tools,
        stream=False,
        output_limit=granted["output_limit"],
        hold_nano=granted["hold_nano"],
        deadline_ms=int(granted["deadline_at"].timestamp() * 1000),
        keep_until=granted["keep_until"],
        batch_line=BatchLine(granted["batch_day"], granted["batch_id"], granted["batch_number"]),
        footprint=footprint_of(ask.chat),
        **more,
    )
