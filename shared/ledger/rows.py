"""The values with which a request is admitted: what is handed to the ledger, and its answers."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime
from functools import partial

import asyncpg
import msgspec

from shared.errors import (
    IdempotencyMismatch,
    InsufficientCredit,
    PermissionDenied,
    RateLimited,
    RebootError,
    RequestTooLarge,
)
from shared.input_tokens import BYTES_PER_TOKEN
from shared.ledger.chains import PinnedModel, dearest
from shared.ledger.pinned_price import PinnedPrice
from shared.money import NanoUsd, nano_to_usd


class StoredInput(msgspec.Struct, frozen=True, kw_only=True):
    """The input of a request that later requests may continue, and the fields that its answer repeats, in the API's own
    form. `previous_id` is the request that this one continues.
    """

    repeated: bytes
    input: bytes
    previous_id: str | None = None
    outlives_reader: bool = False
    """False if the request is cancelled when its caller goes away."""
    written_bytes: int = 0
    """Bytes of a row that was written before the request is admitted."""

    @property
    def bytes(self) -> int:
        """The bytes of everything that is stored."""
        return self.written_bytes or len(self.repeated) + len(self.input)

    def written(self) -> StoredInput:
        """This input without the part that is already in its row."""
        return msgspec.structs.replace(self, repeated=b"", input=b"", written_bytes=self.bytes)


class Reservation(PinnedPrice, frozen=True, kw_only=True, omit_defaults=True):
    """A request for a hold: a row of `requests`. Prices are nano-USD per million tokens, limits are tokens.

    The hold uses the prices `hold_…` if they are higher than those of plain input and output. `output_limit` is the
    wanted limit, `output_floor` the least to grant if credit is short (equal: all or nothing). `vendor_model` is the
    vendor's id of the model. `idempotency_key` and `fingerprint` are SHA-256; the key leads to this request until
    `keep_until`. `batch_number` is the line of the batch and `batch_bytes` its size. `stored_input` is stored if there
    is room.
    `chain` has all models that may serve the request: the dearest decides the hold, and `output_limit` is the largest of
    theirs.
    """

    id: str
    created_at: datetime
    account_id: str
    key_id: str
    model: str
    vendor_model: str = msgspec.field(name="upstream")
    provider: str
    api: str
    lane: str
    stream: bool
    hold_input_price: int | None = None
    hold_output_price: int | None = None
    input_bound: int
    output_limit: int
    output_floor: int
    deadline_at: datetime
    expires_at: datetime
    messages: str | None = None
    metadata: dict[str, str] | None = None
    idempotency_key: bytes | None = None
    fingerprint: bytes | None = None
    keep_until: datetime | None = None
    batch_id: str | None = None
    batch_number: int | None = None
    batch_day: date | None = None
    batch_bytes: int | None = None
    chain: tuple[PinnedModel, ...] | None = None
    stored_input: StoredInput | None = None

    @property
    def stored_bytes(self) -> int:
        """Bytes that count towards the account's room until the request ends: those that are kept, and those of the
        longest possible answer.
        """
        return self.stored_input.bytes + self.output_limit * BYTES_PER_TOKEN if self.stored_input else 0


class Grant(msgspec.Struct, frozen=True):
    """An admitted request: its hold in nano-USD, and the output limit in tokens that the hold covers."""

    hold_nano: NanoUsd
    output_limit: int


class Repeat(msgspec.Struct, frozen=True):
    """The answer for a repeat: nothing was admitted, because the Idempotency-Key belongs to this earlier request with
    the same body.
    """

    request_id: str


def grant_of(answer: asyncpg.Record | None, row: Reservation) -> Grant | Repeat | RebootError:
    """Convert a row that the query `reserve` returned."""
    match answer and answer["outcome"]:
        case "admitted":
            return Grant(answer["granted_hold"], answer["granted_limit"])  # type: ignore[index]
        case "repeat":
            return Repeat(answer["existing_id"])  # type: ignore[index]
        case "credit":
            return _insufficient(answer["needed"], answer["available"], row)  # type: ignore[index]
        case "room":
            return no_room(answer["needed"], answer["available"])  # type: ignore[index]
        case outcome:
            return _REFUSALS.get(str(outcome), _NO_ACCOUNT)()


def no_room(wanted: int, left: int) -> RequestTooLarge:
    """The error for a request that would keep `wanted` bytes where `left` are left."""
    return RequestTooLarge(
        f"What is stored of this request may take {wanted:,} bytes, and this account's stored responses leave room for"
        f" {max(0, left):,}: send `store`: false, lower max_output_tokens,"
        " delete some (DELETE /v1/responses/{id}), or wait until the oldest go.",
        param="store",
    )


def mismatch() -> IdempotencyMismatch:
    """The error for an Idempotency-Key that came with another body."""
    return IdempotencyMismatch(
        "This Idempotency-Key was used for another request within its time: give each request a key of its own."
    )


_NO_ACCOUNT = partial(PermissionDenied, "This key's account does not exist any more.")
_REFUSALS: dict[str, Callable[[], RebootError]] = {
    "mismatch": mismatch,
    "key_limit": partial(
        PermissionDenied,
        "This request may cost more than is left of this key's own spending limit: lower max_tokens, raise the"
        " limit or use another key.",
    ),
    "in_flight": partial(RateLimited, "The account has too many requests in flight: wait until some have ended."),
}


def _insufficient(needed: int, available: int, row: Reservation) -> InsufficientCredit:
    model = dearest(row.chain).model if row.chain else row.model
    return InsufficientCredit(
        f"{model} needs up to {nano_to_usd(needed)} USD for this request and {nano_to_usd(available)} USD are available:"
        " add credit, lower max_tokens or shorten the messages.",
        needed_usd=nano_to_usd(needed),
        available_usd=nano_to_usd(available),
    )
