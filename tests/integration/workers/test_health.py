"""What a worker says of itself to probes: a real worker on a real queue, asked over HTTP."""

from __future__ import annotations

import time
from typing import Any

import asyncpg
import msgspec
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from arq.connections import ArqRedis

from shared.settings import Settings
from shared.stores.reach import Reach
from tests.harness.support import eventually, eventually_true
from tests.integration.working import LONG_S, Gate, Process, a_process, put
from workers.health import Health

LEASE_S = 0.3


async def asked(process: Process, reach: Reach, path: str = "/readyz", lease_s: float = LONG_S) -> tuple[int, Any]:
    app = web.Application()
    app.router.add_get(path, Health(process.worker, reach, lease_s).pages[path])
    async with TestClient(TestServer(app)) as client, client.get(path) as response:
        return response.status, await response.json()


async def test_a_worker_that_takes_jobs_is_ready_until_it_drains(
    redis_client: ArqRedis, pool: asyncpg.Pool, settings: Settings
) -> None:
    gate, reach = Gate(), Reach(pool, redis_client, settings)
    async with a_process(settings, gate.function) as process:
        process.start()
        await put(redis_client, "wait")
        await gate.has(1)
        status, body = await asked(process, reach)
        assert (status, body["status"], body["running"], body["draining"]) == (200, "ready", 1, False)
        assert (body["postgres"], body["redis"]) == (True, True)
        process.stop()
        status, body = await asked(process, reach)
        assert (status, body["status"], body["running"], body["draining"]) == (503, "not ready", 1, True)
        assert (await asked(process, reach, "/healthz"))[0] == 200
        gate.open()
        await process.ended()


async def test_a_worker_that_claims_no_more_shows_though_its_stores_answer(
    redis_client: ArqRedis, pool: asyncpg.Pool, settings: Settings
) -> None:
    async with a_process(settings, Gate().function) as process:  # it has not been started, as if it were stuck
        reach = Reach(pool, redis_client, settings)
        await eventually(lambda: process.worker.progress.claim_age_s > 3 * LEASE_S, "three leases have passed")
        status, body = await asked(process, reach, lease_s=LEASE_S)
        assert (status, body["status"], body["redis"]) == (503, "not ready", True)
        assert body["claim_age_s"] > 3 * LEASE_S
        process.start()

        async def is_ready() -> bool:
            process.worker.progress.renewed()
            return (await asked(process, reach, lease_s=LEASE_S))[0] == 200

        await eventually_true(is_ready, "it has asked for jobs")


async def test_progress_goes_on_while_nothing_is_to_be_done(redis_client: ArqRedis, settings: Settings) -> None:
    await redis_client.flushdb()
    async with a_process(settings, Gate().function, lease_s=LEASE_S) as process:
        process.start()
        progress = process.worker.progress
        began = time.monotonic()
        await eventually(
            lambda: time.monotonic() - began > progress.renewal_age_s, "it looked whether there is any to renew"
        )


async def test_stores_that_are_away_end_readiness(
    redis_client: ArqRedis, pool: asyncpg.Pool, settings: Settings
) -> None:
    strict = msgspec.structs.replace(settings, ready_grace_s=0.0001)
    async with a_process(settings, Gate().function) as process:
        process.start()
        closed = await asyncpg.create_pool(settings.database_url, min_size=0)
        await closed.close()
        status, body = await asked(process, Reach(closed, redis_client, strict))
        assert (status, body["postgres"], body["redis"]) == (503, False, True)
