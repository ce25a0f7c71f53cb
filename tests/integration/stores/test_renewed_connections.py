"""SIGHUP says that a password has changed: what the pool holds idle is made anew, though nobody needs it."""

from __future__ import annotations

import asyncio
import os
import signal

import asyncpg

from shared.ledger.ledger import Ledger
from shared.runtime.process import heed_hangups
from shared.settings import Settings
from shared.stores import postgres
from tests.harness.support import eventually_true

PIDS = "SELECT pid FROM pg_stat_activity WHERE application_name = 'hangups'"


async def test_a_hangup_renews_idle_connections(pool: asyncpg.Pool, settings: Settings) -> None:
    ours = await postgres.connect(settings, application="hangups")
    await asyncio.gather(*(ours.fetchval("SELECT pg_sleep(0.05)") for _ in range(3)))
    before = {row["pid"] for row in await pool.fetch(PIDS)}
    assert len(before) == 3
    heed_hangups(Ledger(ours, settings).renew_connections)
    try:
        os.kill(os.getpid(), signal.SIGHUP)

        async def none_is_left() -> bool:
            now = {row["pid"] for row in await pool.fetch(PIDS)}
            return bool(now) and not now & before

        await eventually_true(none_is_left, "all connections are new")
    finally:
        asyncio.get_running_loop().remove_signal_handler(signal.SIGHUP)
        await ours.close()
