"""Whether the stores answer, asked of real ones and of addresses where nobody is."""

from __future__ import annotations

import asyncpg
import msgspec
import redis.asyncio
import structlog
from arq.connections import ArqRedis

from shared.settings import Settings
from shared.stores import postgres
from shared.stores import redis_client as clients
from shared.stores.connection_budget import Budget, process_name, tell_budget
from shared.stores.reach import Reach, Reached
from tests.harness.support import free_port


async def test_stores_that_answer_are_there(pool: asyncpg.Pool, redis_client: ArqRedis, settings: Settings) -> None:
    reach = Reach(pool, redis_client, settings)
    assert await reach.look() == Reached(postgres=True, redis=True)
    assert reach.lately


async def test_a_store_that_is_away_is_told_at_once_and_ends_readiness_after_the_grace(
    pool: asyncpg.Pool, settings: Settings
) -> None:
    nowhere = msgspec.structs.replace(settings, redis_url=f"redis://127.0.0.1:{free_port()}/0")
    async with clients.connect(nowhere, redis.asyncio.Redis) as client:
        patient = Reach(pool, client, nowhere)
        assert await patient.look() == Reached(postgres=True, redis=False)
        assert patient.lately
        strict = Reach(pool, client, msgspec.structs.replace(nowhere, ready_grace_s=0.0001))
        assert await strict.look() == Reached(postgres=True, redis=False)
        assert not strict.lately


async def test_a_store_that_does_not_answer_in_time_is_not_there(
    pool: asyncpg.Pool, redis_client: ArqRedis, settings: Settings
) -> None:
    reach = Reach(pool, redis_client, msgspec.structs.replace(settings, ready_within_s=0.05))
    held = [await pool.acquire() for _ in range(settings.database_connections_max)]
    try:
        assert await reach.look() == Reached(postgres=False, redis=True)
    finally:
        for connection in held:
            await pool.release(connection)


async def test_the_connections_of_all_processes_are_held_against_what_the_server_allows(
    database_url: str, settings: Settings
) -> None:
    names = [process_name("web"), "rebootml-worker elsewhere:7"]
    pools = [await postgres.connect(settings, application=name) for name in names]
    try:
        allowed = await pools[0].fetchval(
            "SELECT current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int"
            " - current_setting('reserved_connections', true)::int"
        )
        with structlog.testing.capture_logs() as lines:
            told = await tell_budget(pools[0], settings)
            greedy = msgspec.structs.replace(settings, database_connections_max=allowed)
            await tell_budget(pools[0], greedy)
    finally:
        for one in pools:
            await one.close()
    assert told is not None
    assert (told.connections_each, told.allowed) == (settings.database_connections_max, allowed)
    assert told.processes >= 2  # those of tests beside this one count, too
    assert lines[0]["event"] == "database connections"
    assert (lines[1]["event"], lines[1]["alert"]) == ("database connections may run out", True)


def test_the_share_is_that_of_all_processes_with_full_pools() -> None:
    assert Budget(processes=10, connections_each=8, allowed=97).percent == 82
