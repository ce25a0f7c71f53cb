"""The end of a request as it is handed to the ledger, and what the ledger makes of it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime
from typing import Literal

import msgspec

from shared import clock
from shared.errors import Cancelled, RebootError
from shared.ids import created_at
from shared.ledger.chains import Tried

HoldEnd = Literal["settled", "released", "expired"]
EndState = Literal["succeeded", "failed", "cancelled"]
Outcome = Literal["settled", "repeated", "differs", "unbilled", "void", "unknown", "quarantined"]


class ItemKey(msgspec.Struct, frozen=True, array_like=True):
    """The item of a batch that a request is for: a row of `batch_items`, in the partition of `day`; its line has `number`."""

    day: date
    batch_id: str
    number: int


class LostCall(msgspec.Struct, frozen=True):
    """A call that the vendor bills (`cost_nano`) and no caller is charged for. `number` counts the request's calls from 1;
    `upstream` is None if it is unknown. `reason` is an error's code or `worker_lost`.
    """

    number: int
    upstream: str | None
    model: str
    reason: str
    cost_nano: int
    estimated: bool


class Settlement(msgspec.Struct, frozen=True, kw_only=True):
    """The end of a request and its cost; it can be sent any number of times. `answer` is a packed `KeptAnswer`, kept
    until `keep_until` or as long as its batch. With `void`, the caller was told that the request did not run, so a
    later charge is refused.
    """

    id: str
    created_at: datetime
    account_id: str
    state: EndState
    hold_state: HoldEnd
    ended_at: datetime
    charge_nano: int = 0
    vendor_cost_nano: int = 0
    tokens_input: int | None = None
    tokens_output: int | None = None
    tokens_cached: int | None = None
    tokens_cache_written: int | None = None
    tokens_cache_written_long: int | None = None
    tokens_reasoning: int | None = None
    usage_estimated: bool | None = None
    finish_reason: str | None = None
    error_code: str | None = None
    error_message: str | None = None
    calls: int = msgspec.field(name="attempts", default=0)
    """The number of calls to vendors."""
    answer: bytes | None = None
    keep_until: datetime | None = None
    batch_line: ItemKey | None = None
    void: bool = False
    served_tier: str | None = None
    """The tier that the vendor names as the one that served a flex request."""
    saved_nano: int | None = None
    """The nano-USD that the tier flex has saved, compared with the vendor's default tier."""
    tier_loss_nano: int | None = None
    """The nano-USD that the vendor took beyond the price of the tier that was sold."""
    upstream: str | None = None
    """The upstream that was called last, whose vendor takes `vendor_cost_nano`."""
    lost_calls: tuple[LostCall, ...] | None = None
    served: str | None = None
    """The model of the chain that served the request, or was tried last."""
    tried: tuple[Tried, ...] | None = None
    """The outcome of each model that was tried, including the one that served."""

    @classmethod
    def uncharged(
        cls,
        request_id: str,
        account_id: str,
        error: RebootError,
        *,
        hold_state: HoldEnd = "released",
        ended_at: datetime | None = None,
        calls: int = 0,
        lost_calls: Sequence[LostCall] = (),
        void: bool = False,
    ) -> Settlement:
        """The end of a request that costs its caller nothing, with the error that the caller is told. `ended_at` is now by
        default.
        """
        return cls(
            id=request_id,
            created_at=created_at(request_id),
            account_id=account_id,
            state="cancelled" if isinstance(error, Cancelled) else "failed",
            hold_state=hold_state,
            ended_at=ended_at or clock.utc_now(),
            error_code=error.code,
            error_message=error.message,
            calls=calls,
            lost_calls=tuple(lost_calls) or None,
            void=void,
        )
