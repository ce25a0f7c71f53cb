"""The ledger: hold credit before a request runs, capture the charge when it ends.

The rules are SQL functions (`sql/functions/reserve.sql` and `settle.sql`); this module calls them. Rows of one process
travel in micro-batches, one database call each. A row that the database refuses, or an account that is locked, never
fails the other rows of its batch.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import asyncpg
import msgspec
import structlog

from shared.errors import InvalidRequest, RebootError, Unavailable
from shared.ledger.microbatch import MicroBatch
from shared.ledger.rows import Grant, Repeat, Reservation, grant_of, no_room
from shared.ledger.settlement import ItemKey, Outcome, Settlement
from shared.stores.postgres import BUSY, UNREACHABLE, KeptSession, load_queries, reached, renew_idle

if TYPE_CHECKING:
    from shared.settings import Settings

log = structlog.get_logger(__name__)
SQL, RESPONSES = load_queries("ledger"), load_queries("responses")
NOTHING_WRITTEN = "INSERT 0 0"
REFUSED = (asyncpg.DataError, asyncpg.IntegrityConstraintViolationError)
"""Errors with which the database refuses a row; other errors are troubles of the database itself."""
NO_LINE = ItemKey(None, None, None)  # type: ignore[arg-type] # NULLs in the database
NO_ANSWERS: tuple[list[Any], ...] = ([],) * 6
ESCAPED_NUL = re.compile(r"(?<!\\)((?:\\\\)*)\\u0000")
Row = TypeVar("Row", Reservation, Settlement)
Flush = Callable[[Sequence[Row]], Awaitable[list[Any]]]


class Ledger:
    """Holds and settlements over one pool. The owner runs `run_reserve` and `run_settle` as tasks."""

    def __init__(self, pool: asyncpg.Pool, settings: Settings) -> None:
        self._pool = pool
        self._reserving = KeptSession(pool)
        self._settling = KeptSession(pool)
        self._in_flight_max = settings.in_flight_max
        self._answers_bytes_max = settings.settle_answers_bytes_max
        self._inputs_bytes_max = settings.reserve_inputs_bytes_max
        self._responses_bytes_max = settings.responses_bytes_max
        self._aside_s = settings.request_deadline_s
        self._reservations: MicroBatch[Reservation, Grant | Repeat] = self._batch(
            "reserve", self._reserve_batch, settings, window_s=0
        )
        self._settlements: MicroBatch[Settlement, Outcome] = self._batch(
            "settle", self._settle_batch, settings, window_s=settings.settle_window_s
        )

    @staticmethod
    def _batch(name: str, flush: Callable[..., Any], settings: Settings, *, window_s: float) -> MicroBatch[Any, Any]:
        """Callers wait for reservations, so a reservation never waits for others (`window_s` 0): rows that arrive during a
        call form the next batch.
        """
        return MicroBatch(
            flush,
            window_s=window_s,
            rows_max=settings.micro_batch_rows_max,
            pending_max=settings.micro_batch_pending_max,
            name=name,
        )

    async def reserve(self, reservation: Reservation) -> Grant | Repeat:
        """Hold the request's upper bound; the hold is committed when this returns.

        Raises `IdempotencyMismatch` (the key came with another body), `InsufficientCredit`, `PermissionDenied` (the
        key's own limit), `RateLimited` (too many requests in flight), `RequestTooLarge` (no room for what is to be
        kept), or `Unavailable`: then it is unknown whether the hold exists, and the caller must release it.
        """
        return await self._reservations.submit(reservation)

    async def write_large_input(self, reservation: Reservation) -> Reservation:
        """Write a large input before its reservation, so that the account is not locked while it is written; a small
        input is written with the reservation. Returns the reservation to hand in. Raises `RequestTooLarge` or
        `Unavailable`.
        """
        stored, limit = reservation.stored_input, self._responses_bytes_max
        if stored is None or stored.bytes <= self._inputs_bytes_max:
            return reservation
        ids = (reservation.id, reservation.account_id, stored.previous_id)
        async with reached("The ledger"):
            counts = reservation.stored_bytes
            row = (*ids, not stored.outlives_reader, stored.repeated, stored.input, self._aside_s, counts, limit)
            if await self._pool.execute(RESPONSES["write_large_input"], *row) == NOTHING_WRITTEN:
                taken = await self._pool.fetchval(RESPONSES["room_taken"], reservation.account_id)
                raise no_room(counts, limit - (taken or 0))
        return msgspec.structs.replace(reservation, stored_input=stored.written())

    async def forget(self, account_id: str, request_id: str) -> bool:
        """Delete what is kept of a response; False if there is nothing. Raises `Unavailable`."""
        async with reached("The ledger"), self._pool.acquire() as connection, connection.transaction():
            if await connection.fetchval(RESPONSES["lock_to_forget"], request_id, account_id) is None:
                return False
            await connection.execute(RESPONSES["forget"], request_id, account_id)
            return True

    async def settle(self, settlement: Settlement) -> Outcome:
        """End a hold; the end is committed when this returns. A repeat charges nothing. Raises `Unavailable` while the
        database is away or the account stays locked: send the settlement again later.
        """
        return await self._settlements.submit(settlement)

    async def run_reserve(self) -> None:
        """Write reservations until cancelled."""
        try:
            await self._reservations.run()
        finally:
            await self._reserving.release()

    async def run_settle(self) -> None:
        """Write settlements until cancelled."""
        try:
            await self._settlements.run()
        finally:
            await self._settling.release()

    async def distrust_connections(self) -> None:
        """Replace all connections, because one was found dead and the others are as old."""
        for session in (self._reserving, self._settling):
            session.distrust()
        await self._pool.expire_connections()

    async def renew_connections(self) -> None:
        """Make idle connections anew now, and busy ones when they are needed next, because the password may have changed."""
        await self.distrust_connections()
        await renew_idle(self._pool)

    async def _reserve_batch(self, rows: Sequence[Reservation]) -> list[Grant | Repeat | BaseException]:
        input_bytes = sum(len(row.stored_input.input) for row in rows if row.stored_input)
        if len(rows) > 1 and input_bytes > self._inputs_bytes_max:
            return await self._in_halves(rows, self._reserve_batch)
        query = reserving(rows, self._in_flight_max, self._responses_bytes_max)
        return await self._write(self._reserving, query, rows, self._reserve_batch, _refused, grant_of)

    async def _settle_batch(self, rows: Sequence[Settlement]) -> list[Outcome | BaseException]:
        # many large answers at once would hold the accounts' locks too long
        if len(rows) > 1 and sum(len(row.answer or b"") for row in rows) > self._answers_bytes_max:
            return await self._in_halves(rows, self._settle_batch)
        return await self._write(
            self._settling,
            settling(rows),
            rows,
            self._settle_batch,
            self._quarantine,
            lambda answer, _: answer["outcome"],
        )

    async def _write(
        self,
        session: KeptSession,
        query: tuple[Any, ...],
        rows: Sequence[Row],
        again: Flush[Row],
        refused: Callable[[Row, asyncpg.PostgresError], Awaitable[Any]],
        result: Callable[[Any, Row], Any],
    ) -> list[Any]:
        """Write the rows by `query`, and make each one's result of its answer. Rows of locked accounts and rows that the
        database refuses fail alone: the others are flushed `again`, and a row that is `refused` has its own result.
        """
        try:
            answers = await session.fetch(*query)
        except BUSY as error:
            return await self._one_account_at_a_time(rows, again, error)
        except UNREACHABLE as error:
            await self.distrust_connections()
            raise _unavailable(error) from error
        except REFUSED as error:
            return [await refused(rows[0], error)] if len(rows) == 1 else await self._in_halves(rows, again)
        except asyncpg.PostgresError as error:
            log.exception("ledger fails", alert=True)
            raise _unavailable(error) from error
        by_id = {answer["request_id"]: answer for answer in answers}
        return [result(by_id.get(row.id), row) for row in rows]

    async def _one_account_at_a_time(self, rows: Sequence[Row], again: Flush[Row], error: Exception) -> list[Any]:
        """Flush each account's rows by themselves, so that a locked account delays only its own rows."""
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
        """Split the rows in half until the row that the database refuses is alone; all other rows go through."""
        middle: int = len(rows) // 2
        return [*await again(rows[:middle]), *await again(rows[middle:])]

    async def _quarantine(self, row: Settlement, error: asyncpg.PostgresError) -> Outcome:
        """Store a settlement that the database refuses, for an operator."""
        reason = _reason(error)
        try:
            await self._pool.execute(SQL["quarantine"], row.id, json_text(_without_answer(row)), reason)
        except UNREACHABLE as lost:
            raise _unavailable(lost) from lost
        log.error("settlement quarantined", alert=True, request_id=row.id, reason=reason)
        return "quarantined"


def reserving(rows: Sequence[Reservation], in_flight_max: int, responses_bytes_max: int) -> tuple[Any, ...]:
    """The query that reserves, and its arguments. Inputs are passed outside the JSON, as answers are."""
    text = json_text([msgspec.structs.replace(row, stored_input=None) if row.stored_input else row for row in rows])
    inputs = [(row, row.stored_input) for row in rows if row.stored_input is not None]
    if not inputs:
        return SQL["reserve"], text, in_flight_max
    responses = (
        (
            row.id,
            row.account_id,
            one.previous_id,
            not one.outlives_reader,
            one.repeated,
            one.input,
            row.stored_bytes,
            row.keep_until,
        )
        for row, one in inputs
    )
    return SQL["reserve_and_keep"], text, in_flight_max, *zip(*responses, strict=True), responses_bytes_max


def settling(rows: Sequence[Settlement]) -> tuple[Any, ...]:
    """The query that settles, and its arguments. Answers are passed outside the JSON; inside it they would take
    seconds.
    """
    text = json_text([_without_answer(row) for row in rows])
    kept = [(row, row.batch_line or NO_LINE) for row in rows if row.answer is not None]
    answers = ((row.id, row.answer, row.keep_until, line.day, line.batch_id, line.number) for row, line in kept)
    return SQL["settle_and_keep"], text, *(zip(*answers, strict=True) if kept else NO_ANSWERS)


def _without_answer(row: Settlement) -> Settlement:
    return row if row.answer is None else msgspec.structs.replace(row, answer=None)


def json_text(value: object) -> str:
    """JSON text for a jsonb column. Postgres stores no NUL, so its escape becomes U+FFFD; an escaped backslash that only
    looks like one is left alone.
    """
    text = msgspec.json.encode(value).decode()
    return ESCAPED_NUL.sub(r"\1\\ufffd", text) if "\\u0000" in text else text


def _unavailable(error: Exception) -> Unavailable:
    return Unavailable(
        f"The ledger cannot be reached now ({type(error).__name__}); nothing was charged: try again shortly."
    )


async def _refused(row: Reservation, error: asyncpg.PostgresError) -> RebootError:
    if isinstance(error, asyncpg.NumericValueOutOfRangeError):
        return InvalidRequest(
            "No account can pay for a request of this size: lower max_tokens or shorten the messages."
        )
    log.error("reservation refused", alert=True, request_id=row.id, reason=_reason(error))
    return RebootError("The request could not be recorded; nothing was charged.")


def _reason(error: asyncpg.PostgresError) -> str:
    return f"{type(error).__name__}: {error.args[0] if error.args else ''}"
