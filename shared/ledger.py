"""The ledger: hold credit before a request runs, capture the charge when it ends.

The rules live in SQL (`sql/migrations/0003_reserve_and_settle.sql`); this is the way in. Rows of one process travel in
micro-batches, one database call each. A row that the database refuses, or an account that is locked, never takes the
rest of its batch with it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import asyncpg
import msgspec
import structlog

from shared.database import UNREACHABLE, load_queries
from shared.errors import InsufficientCredit, InvalidRequest, PermissionDenied, RateLimited, RebootError, Unavailable
from shared.microbatch import MicroBatch
from shared.money import NanoUsd, nano_to_usd

if TYPE_CHECKING:
    from shared.settings import Settings

log = structlog.get_logger(__name__)
SQL = load_queries("ledger")
REFUSED = (asyncpg.DataError, asyncpg.IntegrityConstraintViolationError)
"""The database's verdict on a row, as opposed to its own trouble."""
BUSY = (asyncpg.LockNotAvailableError, asyncpg.DeadlockDetectedError)
HoldEnd = Literal["settled", "released", "expired"]
EndState = Literal["succeeded", "failed", "cancelled"]
Outcome = Literal["settled", "repeated", "unbilled", "unknown", "quarantined"]


class Reservation(msgspec.Struct, frozen=True, kw_only=True):
    """A request that asks for a hold: a row of `requests`. Prices are nano-USD per million tokens, bounds are tokens.

    `output_limit` is what is wanted, `output_floor` the least to grant when credit is short (equal: all or nothing).
    """

    id: str
    created_at: datetime
    account_id: str
    key_id: str
    model: str
    upstream: str
    provider: str
    api: str
    lane: str
    stream: bool
    price_version: str
    input_price: int
    output_price: int
    cached_price: int | None
    input_bound: int
    output_limit: int
    output_floor: int
    deadline_at: datetime
    expires_at: datetime
    messages: str | None = None


class Grant(msgspec.Struct, frozen=True):
    """An admitted request: its hold in nano-USD and the output limit in tokens that the hold covers."""

    hold_nano: NanoUsd
    output_limit: int


class Settlement(msgspec.Struct, frozen=True, kw_only=True):
    """How a request ended and what it costs: a pure value, safe to send any number of times."""

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
    tokens_reasoning: int | None = None
    usage_estimated: bool | None = None
    finish_reason: str | None = None
    error_code: str | None = None
    error_message: str | None = None
    attempts: int = 0


Row = TypeVar("Row", Reservation, Settlement)
Flush = Callable[[Sequence[Row]], Awaitable[list[Any]]]


class Ledger:
    """Holds and settlements over one pool. `run_reserve` and `run_settle` are the two writers, tasks of the owner."""

    def __init__(self, pool: asyncpg.Pool, settings: Settings) -> None:
        self._pool = pool
        self._in_flight_max = settings.in_flight_max
        self._reservations: MicroBatch[Reservation, Grant] = self._batch(
            "reserve", self._reserve_batch, settings, window_s=0
        )
        self._settlements: MicroBatch[Settlement, Outcome] = self._batch(
            "settle", self._settle_batch, settings, window_s=settings.settle_window_s
        )

    @staticmethod
    def _batch(name: str, flush: Callable[..., Any], settings: Settings, *, window_s: float) -> MicroBatch[Any, Any]:
        """A caller waits for a reservation, so it never waits for company: what comes meanwhile is the next batch."""
        return MicroBatch(
            flush,
            window_s=window_s,
            rows_max=settings.micro_batch_rows_max,
            pending_max=settings.micro_batch_pending_max,
            name=name,
        )

    async def reserve(self, reservation: Reservation) -> Grant:
        """Hold the request's upper bound; committed when this returns.

        Raises `InsufficientCredit`, `PermissionDenied` (the key's own limit), `RateLimited` (too many in flight), or
        `Unavailable`: then it is not known whether the hold exists, and the caller must release it.
        """
        return await self._reservations.submit(reservation)

    async def settle(self, settlement: Settlement) -> Outcome:
        """End a hold; committed when this returns. Repeating it charges nothing twice.

        Raises `Unavailable` while the database is away or the account stays locked: send it again later.
        """
        return await self._settlements.submit(settlement)

    async def run_reserve(self) -> None:
        """The writer of reservations: runs until cancelled."""
        await self._reservations.run()

    async def run_settle(self) -> None:
        """The writer of settlements: runs until cancelled."""
        await self._settlements.run()

    async def _reserve_batch(self, rows: Sequence[Reservation]) -> list[Grant | BaseException]:
        try:
            answers = await self._pool.fetch(SQL["reserve"], _json(rows), self._in_flight_max)
        except BUSY as error:
            return await self._one_account_at_a_time(rows, self._reserve_batch, error)
        except UNREACHABLE as error:
            await self._pool.expire_connections()  # the others are as old, and may be as dead
            raise _unavailable(error) from error
        except REFUSED as error:
            if len(rows) > 1:
                return await self._in_halves(rows, self._reserve_batch)
            return [_refused(rows[0], error)]
        except asyncpg.PostgresError as error:
            log.exception("ledger fails", alert=True)
            raise _unavailable(error) from error
        by_id = {answer["request_id"]: answer for answer in answers}
        return [_grant(by_id.get(row.id), row) for row in rows]

    async def _settle_batch(self, rows: Sequence[Settlement]) -> list[Outcome | BaseException]:
        try:
            answers = await self._pool.fetch(SQL["settle"], _json(rows))
        except BUSY as error:
            return await self._one_account_at_a_time(rows, self._settle_batch, error)
        except UNREACHABLE as error:
            await self._pool.expire_connections()  # the others are as old, and may be as dead
            raise _unavailable(error) from error
        except REFUSED as error:
            if len(rows) > 1:
                return await self._in_halves(rows, self._settle_batch)
            return [await self._quarantine(rows[0], error)]
        except asyncpg.PostgresError as error:
            log.exception("ledger fails", alert=True)
            raise _unavailable(error) from error
        by_id: dict[str, Outcome] = {answer["request_id"]: answer["outcome"] for answer in answers}
        return [by_id[row.id] for row in rows]

    async def _one_account_at_a_time(self, rows: Sequence[Row], again: Flush[Row], error: Exception) -> list[Any]:
        """A locked account keeps its own rows waiting and nobody else's."""
        accounts = {row.account_id for row in rows}
        if len(accounts) == 1:
            return [_unavailable(error)] * len(rows)
        answers: dict[str, Any] = {}
        for account in sorted(accounts):
            own = [row for row in rows if row.account_id == account]
            answers.update(zip((row.id for row in own), await again(own), strict=True))
        return [answers[row.id] for row in rows]

    @staticmethod
    async def _in_halves(rows: Sequence[Row], again: Flush[Row]) -> list[Any]:
        """Find the row that the database refuses; all others go through."""
        middle: int = len(rows) // 2
        return [*await again(rows[:middle]), *await again(rows[middle:])]

    async def _quarantine(self, row: Settlement, error: asyncpg.PostgresError) -> Outcome:
        """Set aside what the database refuses."""
        reason = _reason(error)
        try:
            await self._pool.execute(SQL["quarantine"], row.id, _json(row), reason)
        except UNREACHABLE as lost:
            raise _unavailable(lost) from lost
        log.error("settlement quarantined", alert=True, request_id=row.id, reason=reason)
        return "quarantined"


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode().replace("\\u0000", "\\ufffd")  # Postgres stores no NUL


def _unavailable(error: Exception) -> Unavailable:
    return Unavailable(
        f"The ledger cannot be reached now ({type(error).__name__}); nothing was charged: try again shortly."
    )


def _refused(row: Reservation, error: asyncpg.PostgresError) -> RebootError:
    if isinstance(error, asyncpg.NumericValueOutOfRangeError):
        return InvalidRequest(
            "No account can pay for a request of this size: lower max_tokens or shorten the messages."
        )
    log.error("reservation refused", alert=True, request_id=row.id, reason=_reason(error))
    return RebootError("The request could not be recorded; nothing was charged.")


def _reason(error: asyncpg.PostgresError) -> str:
    return f"{type(error).__name__}: {error.args[0] if error.args else ''}"


def _grant(answer: asyncpg.Record | None, row: Reservation) -> Grant | RebootError:
    match answer and answer["outcome"]:
        case "admitted":
            return Grant(answer["granted_hold"], answer["granted_limit"])  # type: ignore[index]
        case "credit":
            return _insufficient(answer["needed"], answer["available"], row)  # type: ignore[index]
        case "key_limit":
            return PermissionDenied(
                "This request may cost more than is left of this key's own spending limit: lower max_tokens, raise the"
                " limit or use another key."
            )
        case "in_flight":
            return RateLimited("The account has too many requests in flight: wait until some have ended.")
        case _:
            return PermissionDenied("This key's account does not exist any more.")


def _insufficient(needed: int, available: int, row: Reservation) -> InsufficientCredit:
    return InsufficientCredit(
        f"{row.model} needs up to {nano_to_usd(needed)} USD for this request and {nano_to_usd(available)} USD are available:"
        " add credit, lower max_tokens or shorten the messages.",
        needed_usd=nano_to_usd(needed),
        available_usd=nano_to_usd(available),
    )
