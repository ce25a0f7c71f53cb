"""A process that cannot serve says why in one line that names the setting, and ends with 1."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import asyncpg
import pytest
from redis.asyncio import Redis

from deploy.local.child import Program
from shared.stores.migrations import migrate
from tests.harness.forking import started
from tests.harness.support import free_port, shifted_by

GOOD = {"LOG_LEVEL": "error", "PATH": os.defpath}


@pytest.fixture(scope="module")
async def stores(postgres_url: str, redis_url: str) -> dict[str, str]:
    """A migrated database and a Redis, as settings."""
    name = "starting"
    connection = await asyncpg.connect(postgres_url)
    await connection.execute(f"CREATE DATABASE {name}")
    await connection.close()
    url = postgres_url.replace("/rebootml", f"/{name}", 1)
    await migrate(url)
    return {"DATABASE_URL": url, "REDIS_URL": redis_url}


async def refused(module: str, environment: dict[str, str]) -> str:
    """Start it; gives the one line that it says."""
    with TemporaryDirectory() as folder:
        log = Path(folder) / "logs" / "it.log"
        command = (sys.executable, "-m", module)
        child = started(Program(name="it", command=command, environment=GOOD | environment, log=log))
        try:
            async with asyncio.timeout(30):
                status = await child.ended()
        finally:
            await child.kill()
        said = log.read_text(encoding="utf-8")
    assert status == 1, said
    assert said.count("\n") == 1, said
    return said


@pytest.mark.parametrize(("module", "missing"), [("api", "DATABASE_URL"), ("workers", "REDIS_URL")])
async def test_a_missing_setting_is_named(stores: dict[str, str], module: str, missing: str) -> None:
    environment = {name: value for name, value in stores.items() if name != missing}
    assert missing in await refused(module, environment)


async def test_a_wrong_setting_is_named(stores: dict[str, str]) -> None:
    """The unit tests of the settings have the others."""
    assert "LEASE_S" in await refused("api", {**stores, "LEASE_S": "soon"})


async def test_settings_that_contradict_each_other_are_named(stores: dict[str, str]) -> None:
    said = await refused("workers", {**stores, "IN_FLIGHT_MAX": "100", "BATCH_IN_FLIGHT_KEPT": "100"})
    assert "BATCH_IN_FLIGHT_KEPT=100 is wrong: it takes less than IN_FLIGHT_MAX (100)" in said


@pytest.mark.parametrize("module", ["api", "workers"])
async def test_an_overlay_is_refused_with_file_line_and_reason(
    stores: dict[str, str], module: str, tmp_path: Path
) -> None:
    overlay = tmp_path / "overlay.toml"
    overlay.write_text('[[model]]\nname = "openai-gpt-4o"\n\n[[model]]\nname = "new"\ninput = "cheap"\n')
    said = await refused(module, {**stores, "CATALOGUE": str(overlay)})
    assert f"{overlay}:6: model 'new': " in said


@pytest.mark.parametrize("module", ["api", "workers"])
async def test_a_redis_that_may_evict_is_refused(stores: dict[str, str], module: str) -> None:
    async with Redis.from_url(stores["REDIS_URL"]) as redis:
        await redis.config_set("maxmemory-policy", "allkeys-lru")
        try:
            said = await refused(module, stores)
        finally:
            await redis.config_set("maxmemory-policy", "noeviction")
    assert "REDIS_URL" in said
    assert "noeviction" in said


@pytest.mark.parametrize("module", ["api", "workers"])
async def test_a_clock_that_is_off_is_refused(stores: dict[str, str], module: str, tmp_path: Path) -> None:
    said = await refused(module, {**stores, **shifted_by(700, tmp_path / "shift")})
    assert "this machine's clock is 700 s ahead of that of Redis and 700 s ahead of that of Postgres" in said


@pytest.mark.parametrize("module", ["api", "workers"])
async def test_stores_that_are_not_there_are_named(stores: dict[str, str], module: str) -> None:
    nowhere = f"127.0.0.1:{free_port()}"
    assert "DATABASE_URL" in await refused(module, {**stores, "DATABASE_URL": f"postgresql://x@{nowhere}/x"})
    assert "REDIS_URL" in await refused(module, {**stores, "REDIS_URL": f"redis://{nowhere}/0"})


@pytest.mark.parametrize("module", ["api", "workers"])
async def test_a_database_without_migrations_is_refused(stores: dict[str, str], module: str, postgres_url: str) -> None:
    connection = await asyncpg.connect(postgres_url)
    await connection.execute(f"CREATE DATABASE unmigrated_{module} TEMPLATE template0")
    await connection.close()
    url = postgres_url.replace("/rebootml", f"/unmigrated_{module}", 1)
    assert "rebootml migrate" in await refused(module, {**stores, "DATABASE_URL": url})


async def test_a_taken_port_is_named(stores: dict[str, str]) -> None:
    server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        assert f"PORT={port}" in await refused("api", {**stores, "PORT": str(port)})
