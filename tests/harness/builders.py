"""Builders: valid values of the project's types, of which a test names only what it is about."""

from __future__ import annotations

import functools
import hashlib
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from shared.catalogue.models import Catalogue, Model, load_catalogue
from shared.chat import Message, Sampling
from shared.ids import created_at, new_id
from shared.job import Job, PackedJob
from shared.ledger.rows import Reservation
from shared.ledger.settlement import Settlement
from shared.money import NanoUsd, Price

NANO_PER_TOKEN = 1_000_000
"""A price at which one token costs one nano-USD."""
PRICE = Price(input=2_500_000_000, output=10_000_000_000, cached=1_250_000_000)


@functools.cache
def _catalogue() -> Catalogue:
    return load_catalogue()


def a_model(**changes: Any) -> Model:
    """The catalogue's GPT-4o at `PRICE`, whatever its row says."""
    fixed = {"vendor_price": PRICE, "price": PRICE, "lifecycle": "active", "ends_on": None}
    return msgspec.structs.replace(_catalogue().find("openai-gpt-4o"), **(fixed | changes))


def a_job(**changes: Any) -> Job:
    model = changes.get("model", a_model())
    fields: dict[str, Any] = {
        "id": new_id("req"),
        "account_id": "acc_of_nobody",
        "model": model,
        "price": model.price,
        "messages": [Message("user", "Hello")],
        "sampling": Sampling(),
        "stream": True,
        "output_limit": 4_096,
        "hold_nano": NanoUsd(50_000_000),
        "deadline_ms": int(time.time() * 1000) + 600_000,
    }
    return Job(**(fields | changes))


def packed_job(job: Job) -> PackedJob:
    """The same as a front door has it."""
    fields = {name: getattr(job, name) for name in job.__struct_fields__}
    for name in ("messages", "sampling", "tools"):
        fields[name] = msgspec.Raw(msgspec.msgpack.encode(fields[name]))
    return PackedJob(**fields)


def a_reservation(account_id: str, hold: int = 100, **changes: Any) -> Reservation:
    """Asks for a hold of exactly `hold` nano-USD, unless `changes` say otherwise."""
    request_id = changes.pop("id", None) or new_id("req")
    now = datetime.now(UTC)
    fields: dict[str, Any] = {
        "id": request_id,
        "created_at": created_at(request_id),
        "account_id": account_id,
        "key_id": "key_of_nobody",
        "model": "openai-gpt-4o",
        "vendor_model": "gpt-4o-2024-08-06",
        "provider": "openai",
        "api": "openai-chat",
        "lane": "interactive",
        "stream": True,
        "price_version": "0123456789ab",
        "input_price": NANO_PER_TOKEN,
        "output_price": 0,
        "cached_price": None,
        "input_bound": hold,
        "output_limit": 1,
        "output_floor": 1,
        "deadline_at": now + timedelta(minutes=10),
        "expires_at": now + timedelta(minutes=11),
    }
    return Reservation(**(fields | changes))


def repeatable(key: str = "key", body: str = "body", kept_s: float = 86_400) -> dict[str, Any]:
    """What a reservation says besides when its caller sent an Idempotency-Key."""
    return {
        "idempotency_key": hashlib.sha256(key.encode()).digest(),
        "fingerprint": hashlib.sha256(body.encode()).digest(),
        "keep_until": datetime.now(UTC) + timedelta(seconds=kept_s),
    }


def a_settlement(reservation: Reservation, charge: int = 0, **changes: Any) -> Settlement:
    """Ends the hold as settled with `charge` nano-USD, unless `changes` say otherwise: for as many tokens of input, at the
    price that `a_reservation` has.
    """
    fields: dict[str, Any] = {
        "id": reservation.id,
        "created_at": reservation.created_at,
        "account_id": reservation.account_id,
        "state": "succeeded",
        "hold_state": "settled",
        "ended_at": datetime.now(UTC),
        "charge_nano": charge,
        "tokens_input": charge or None,
    }
    return Settlement(**(fields | changes))


def a_release(reservation: Reservation, **changes: Any) -> Settlement:
    """Ends the hold without a charge."""
    return a_settlement(reservation, **({"state": "failed", "hold_state": "released"} | changes))
