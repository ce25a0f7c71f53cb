"""Reserving and settling on an empty request log and on one of ten million rows."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta

import asyncpg

from deploy.local.stores import embedded_postgres
from shared.ids import created_at, new_id
from shared.ledger.accounts import create_account
from shared.ledger.api_keys import KeyRules, create_key
from shared.ledger.ledger import Ledger
from shared.ledger.rows import Reservation
from shared.ledger.settlement import Settlement
from shared.money import usd_to_nano
from shared.runtime.tasks import background_tasks
from shared.settings import Settings
from shared.stores import postgres
from shared.stores.migrations import migrate
from tests.bench import cpu
from tests.bench.ours import CREDIT_USD
from tests.bench.targets import Bench

ROWS = int(os.environ.get("BENCH_LOG_ROWS", "10000000"))
"""Fewer, to try the figure itself."""
ROWS_PER_INSERT = 500_000
AT_ONCE = 128
SECONDS = 5.0

FILL = """
INSERT INTO requests (id, created_at, account_id, key_id, model, upstream, provider, api, lane, stream, price_version,
    input_price, output_price, input_bound, output_limit, hold_nano, deadline_at, expires_at,
    state, hold_state, ended_at, tokens_input, tokens_output, charged_nano, finish_reason, attempts)
SELECT 'req_00' || to_char(n, 'FM000000000000000000000000'), $4::timestamptz + n * interval '10 ms', $3, 'key',
    'openai-gpt-4o-mini', 'gpt-4o-mini', 'openai', 'openai-chat', 'interactive', false, 'v1',
    150000000, 600000000, 40, 200, 130000,
    $4::timestamptz, $4::timestamptz, 'succeeded', 'settled', $4::timestamptz + n * interval '10 ms',
    20, 100, 63000, 'stop', 1
FROM generate_series($1::bigint, $2::bigint) n
"""
"""Of finished requests, a hundred a second, in the month that is being written to."""


async def log_of_ten_million(bench: Bench, say: Callable[[str], None]) -> None:
    """Reserve and settle together, no slower with a long log."""
    async with AsyncExitStack() as stack:
        with cpu.starting_on(bench.system_core):
            url = await stack.enter_async_context(embedded_postgres(bench.folder))
        await migrate(url)
        pool = await postgres.connect(_settings(url), application="bench")
        stack.push_async_callback(pool.close)
        account_id = (await create_account(pool, "bench", usd_to_nano(CREDIT_USD))).id
        key_id = (await create_key(pool, account_id, KeyRules(name="bench"))).key_id
        say(f"empty log: {await _per_s(pool, account_id, key_id):,.0f} reserved and settled per second")
        began = time.monotonic()
        await _fill(url, account_id)
        say(f"{ROWS:,} rows written in {time.monotonic() - began:.0f} s")
        say(f"{ROWS:,} rows: {await _per_s(pool, account_id, key_id):,.0f} reserved and settled per second")


def _settings(url: str) -> Settings:
    return Settings(database_url=url, redis_url="redis://nobody", in_flight_max=10 * AT_ONCE)


async def _fill(url: str, account_id: str) -> None:
    connection = await asyncpg.connect(url)
    month = datetime.now(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    try:
        await connection.execute("SET synchronous_commit = off")
        for first in range(0, ROWS, ROWS_PER_INSERT):
            await connection.execute(FILL, first + 1, min(first + ROWS_PER_INSERT, ROWS), account_id, month)
        await connection.execute("VACUUM ANALYZE requests")
        await connection.execute("CHECKPOINT")
    finally:
        await connection.close()


async def _per_s(pool: asyncpg.Pool, account_id: str, key_id: str) -> float:
    """The median of three runs; each reserves and settles, many at once, as front doors and workers do."""
    rates = [await _one_run(pool, account_id, key_id) for _ in range(3)]
    return sorted(rates)[1]


async def _one_run(pool: asyncpg.Pool, account_id: str, key_id: str) -> float:
    ledger, done = Ledger(pool, _settings("postgresql://")), 0
    until = time.monotonic() + SECONDS

    async def keep_going() -> None:
        nonlocal done
        while time.monotonic() < until:
            reservation = _reservation(account_id, key_id)
            await ledger.reserve(reservation)
            await ledger.settle(_settlement(reservation))
            done += 1

    async with background_tasks() as group:
        for writer in (ledger.run_reserve(), ledger.run_settle()):
            group.create_task(writer)
        began = time.monotonic()
        await asyncio.gather(*(keep_going() for _ in range(AT_ONCE)))
        return done / (time.monotonic() - began)


def _reservation(account_id: str, key_id: str) -> Reservation:
    request_id = new_id("req")
    made = created_at(request_id)
    return Reservation(
        id=request_id,
        created_at=made,
        account_id=account_id,
        key_id=key_id,
        model="openai-gpt-4o-mini",
        vendor_model="gpt-4o-mini",
        provider="openai",
        api="openai-chat",
        lane="interactive",
        stream=False,
        price_version="v1",
        input_price=150_000_000,
        output_price=600_000_000,
        cached_price=None,
        input_bound=40,
        output_limit=200,
        output_floor=200,
        deadline_at=made + timedelta(minutes=10),
        expires_at=made + timedelta(minutes=12),
    )


def _settlement(reservation: Reservation) -> Settlement:
    return Settlement(
        id=reservation.id,
        created_at=reservation.created_at,
        account_id=reservation.account_id,
        state="succeeded",
        hold_state="settled",
        ended_at=datetime.now(UTC),
        charge_nano=63_000,
        vendor_cost_nano=63_000,
        tokens_input=20,
        tokens_output=100,
        finish_reason="stop",
        calls=1,
    )
