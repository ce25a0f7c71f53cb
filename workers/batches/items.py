"""A batch's line as a request: its reservation before it is fed, and its job after."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from shared.batches.batches import Ask, unpack_ask
from shared.catalogue.models import Catalogue, Model, output_limit, priced
from shared.chat import input_bound
from shared.ids import created_at, new_id
from shared.job import Job
from shared.ledger.rows import BatchLine, Reservation
from shared.money import NanoUsd, Price

if TYPE_CHECKING:
    import asyncpg

    from shared.settings import Settings


class Item(NamedTuple):
    """A line that is about to be fed."""

    reservation: Reservation
    ask: Ask
    model: Model


class LineReader:
    """Makes requests of lines, at the prices in force when they are fed."""

    def __init__(self, catalogue: Catalogue, settings: Settings) -> None:
        self._catalogue = catalogue
        self._settings = settings

    def item(self, cursor: asyncpg.Record, number: int, asked: bytes) -> Item:
        """The line `number` of the batch that `cursor` is about. Raises `ModelNotFound` when the model left the catalogue."""
        settings, ask = self._settings, unpack_ask(asked)
        model = priced(self._catalogue.serving(ask.model), settings.batch_price_factor)
        request_id = new_id("req")
        moment = created_at(request_id)
        deadline = min(moment + timedelta(seconds=settings.batch_item_deadline_s), cursor["expires_at"])
        wanted, _ = output_limit(model, ask.max_tokens, settings)
        reservation = Reservation(
            id=request_id,
            created_at=moment,
            account_id=cursor["account_id"],
            key_id=cursor["key_id"],
            model=model.name,
            upstream=model.upstream,
            provider=model.provider,
            api=model.api,
            lane="batch",
            stream=False,
            price_version=model.price_version,
            input_price=model.price.input,
            output_price=model.price.output,
            cached_price=model.price.cached,
            input_bound=input_bound(ask.messages, model.image_tokens or 0, ask.tools, ask.sampling.json_answer),
            output_limit=wanted,
            output_floor=wanted,
            deadline_at=deadline,
            expires_at=deadline + timedelta(seconds=2 * settings.lease_s + settings.hold_grace_s),
            keep_until=datetime.combine(cursor["day"], datetime.min.time(), UTC)
            + timedelta(days=settings.batch_days_kept),
            metadata=ask.metadata,
            batch_id=cursor["batch_id"],
            batch_number=number,
            batch_day=cursor["day"],
            batch_bytes=len(asked),
        )
        return Item(reservation, ask, model)

    def job_again(self, row: asyncpg.Record) -> Job:
        """The job of an item that Redis has lost, from its request and its line."""
        ask = unpack_ask(row["asked"])
        price = Price(row["input_price"], row["output_price"], row["cached_price"])
        model = msgspec.structs.replace(self._catalogue.serving(ask.model), price=price)
        return _job(row["request_id"], row["account_id"], model, ask, dict(row))


def job_of(item: Item, hold_nano: NanoUsd) -> Job:
    """The job of an item that is held for."""
    held = item.reservation
    granted = msgspec.structs.asdict(held) | {"hold_nano": hold_nano}
    return _job(held.id, held.account_id, item.model, item.ask, granted)


def _job(request_id: str, account_id: str, model: Model, ask: Ask, granted: Mapping[str, Any]) -> Job:
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
    )
