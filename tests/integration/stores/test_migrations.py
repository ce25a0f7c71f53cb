from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
from collections.abc import AsyncIterator

import asyncpg
import pytest

from shared.errors import Unavailable
from shared.settings import Settings
from shared.stores import migrations as migrations_module
from shared.stores import postgres
from shared.stores.migrations import Migration, MigrationError, migrate, migrations, require_migrated
from shared.stores.postgres import load_queries
from shared.stores.sql_functions import FunctionFile, function_files
from tests.integration.conftest import execute

NAMES = [f"{migration.version:04d}_{migration.title}" for migration in migrations()]
FUNCTIONS = [f"functions/{file.name} revision {file.revision}" for file in function_files()]
MIGRATE = "import asyncio, sys; from shared.stores.migrations import migrate; print(*asyncio.run(migrate(sys.argv[1])))"


RELEASED = 6
"""The last migration of 0.1.0; what came later may find large tables."""


@pytest.fixture
async def empty_pool(empty_database_url: str) -> AsyncIterator[asyncpg.Pool]:
    async with asyncpg.create_pool(empty_database_url, min_size=1, max_size=2) as connections:
        yield connections


async def test_migrating_twice_applies_everything_once(empty_database_url: str, empty_pool: asyncpg.Pool) -> None:
    assert await migrate(empty_database_url) == NAMES + FUNCTIONS
    assert await migrate(empty_database_url) == []
    await require_migrated(empty_pool)


async def test_two_processes_that_migrate_at_once_apply_everything_once(
    empty_database_url: str, empty_pool: asyncpg.Pool
) -> None:
    def start() -> subprocess.Popen[str]:
        command = [sys.executable, "-c", MIGRATE, empty_database_url]
        return subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=dict(os.environ)
        )

    processes = [start() for _ in range(2)]
    outputs = [await asyncio.to_thread(process.communicate) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], outputs
    assert "\n".join(sorted(output.strip() for output, _ in outputs)).strip() == " ".join(NAMES + FUNCTIONS)
    assert await empty_pool.fetchval("SELECT count(*) FROM schema_migrations") == len(NAMES)


async def test_a_migration_that_was_changed_after_it_was_applied_is_refused(empty_database_url: str) -> None:
    await migrate(empty_database_url)
    await execute(empty_database_url, "UPDATE schema_migrations SET checksum = 'other' WHERE version = 2")
    with pytest.raises(MigrationError, match="0002 was changed"):
        await migrate(empty_database_url)


async def test_a_database_from_the_future_is_refused(empty_database_url: str) -> None:
    await migrate(empty_database_url)
    future = len(NAMES) + 1
    await execute(empty_database_url, f"INSERT INTO schema_migrations VALUES ({future}, 'future', 'x')")
    with pytest.raises(MigrationError, match=f"{future:04d}.*does not know"):
        await migrate(empty_database_url)


async def test_a_migration_that_fails_leaves_nothing_of_itself(
    empty_database_url: str, empty_pool: asyncpg.Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = Migration(len(NAMES) + 1, "broken", "CREATE TABLE half (); SELECT 1 / 0", "x")
    monkeypatch.setattr(migrations_module, "migrations", lambda: [*migrations(), broken])
    with pytest.raises(asyncpg.DivisionByZeroError):
        await migrate(empty_database_url)
    assert await empty_pool.fetchval("SELECT to_regclass('half')") is None
    assert await empty_pool.fetchval("SELECT max(version) FROM schema_migrations") == len(NAMES)


def other(file: FunctionFile, revision: int, sql: str) -> FunctionFile:
    return file._replace(revision=revision, sql=sql, checksum=sql)


async def test_functions_are_applied_again_when_their_revision_grows_and_an_older_release_leaves_them_alone(
    empty_database_url: str, empty_pool: asyncpg.Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    await migrate(empty_database_url)
    file = next(file for file in function_files() if file.name == "credit")
    changed = file.sql.replace("no such account", "nobody")
    assert changed != file.sql

    async def newest() -> str:
        return str(await empty_pool.fetchval("SELECT prosrc FROM pg_proc WHERE proname = 'credit'"))

    monkeypatch.setattr(migrations_module, "function_files", lambda: [other(file, file.revision, changed)])
    with pytest.raises(MigrationError, match="next revision"):
        await migrate(empty_database_url)
    monkeypatch.setattr(migrations_module, "function_files", lambda: [other(file, file.revision + 1, changed)])
    with pytest.raises(MigrationError, match="rebootml migrate"):
        await require_migrated(empty_pool)
    assert await migrate(empty_database_url) == [f"functions/credit revision {file.revision + 1}"]
    await require_migrated(empty_pool)
    assert "nobody" in await newest()
    monkeypatch.undo()
    assert await migrate(empty_database_url) == []
    await require_migrated(empty_pool)
    assert "nobody" in await newest()


async def test_every_function_of_the_database_stands_in_a_file(
    empty_database_url: str, empty_pool: asyncpg.Pool
) -> None:
    await migrate(empty_database_url)
    rows = await empty_pool.fetch("SELECT proname, prosrc FROM pg_proc WHERE pronamespace = 'public'::regnamespace")
    text = "".join(file.sql for file in function_files())
    assert rows
    assert [row["proname"] for row in rows if row["prosrc"] not in text] == []


async def test_a_process_does_not_start_on_a_database_that_is_not_migrated(
    empty_database_url: str, empty_pool: asyncpg.Pool
) -> None:
    with pytest.raises(MigrationError, match="rebootml migrate"):
        await require_migrated(empty_pool)
    await migrate(empty_database_url)
    await execute(empty_database_url, f"DELETE FROM schema_migrations WHERE version = {len(NAMES)}")
    with pytest.raises(MigrationError, match="rebootml migrate"):
        await require_migrated(empty_pool)


@pytest.mark.parametrize("migration", migrations()[RELEASED:], ids=NAMES[RELEASED:])
def test_an_index_of_a_table_that_was_there_is_built_beside_traffic(migration: Migration) -> None:
    made = set(re.findall(r"CREATE TABLE (\w+)", migration.sql))
    indexed = re.findall(r"CREATE (?:UNIQUE )?INDEX (?!CONCURRENTLY)\w+ ON (\w+)", migration.sql)
    assert set(indexed) <= made


async def test_what_broke_off_outside_a_transaction_is_repeated_and_its_broken_index_made_anew(
    empty_database_url: str, empty_pool: asyncpg.Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    await migrate(empty_database_url)
    await empty_pool.execute("CREATE TABLE pairs AS SELECT 1 AS a FROM generate_series(1, 2)")
    sql = (
        "CREATE INDEX CONCURRENTLY IF NOT EXISTS pairs_first ON pairs (a);\n"
        "-- of what is there once\nCREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS pairs_once ON pairs (a);\n"
    )
    one = Migration(len(NAMES) + 1, "pairs", sql, "x", concurrently=True)
    monkeypatch.setattr(migrations_module, "migrations", lambda: [*migrations(), one])
    with pytest.raises(asyncpg.UniqueViolationError):
        await migrate(empty_database_url)
    valid = "SELECT indisvalid FROM pg_index WHERE indexrelid = 'pairs_once'::regclass"
    assert await empty_pool.fetchval(valid) is False
    assert await empty_pool.fetchval("SELECT max(version) FROM schema_migrations") == len(NAMES)
    await empty_pool.execute("DELETE FROM pairs WHERE ctid = (SELECT min(ctid) FROM pairs)")
    assert await migrate(empty_database_url) == [f"{len(NAMES) + 1:04d}_pairs"]
    assert await empty_pool.fetchval(valid) is True


async def test_migrating_makes_the_months_to_come(empty_database_url: str, empty_pool: asyncpg.Pool) -> None:
    await migrate(empty_database_url)
    last = await empty_pool.fetchval("SELECT to_char(now() AT TIME ZONE 'UTC' + interval '3 months', '_YYYY_MM')")
    await execute(empty_database_url, f"DROP TABLE requests{last}")
    assert await migrate(empty_database_url) == []
    assert await empty_pool.fetchval("SELECT to_regclass($1)::text", f"requests{last}") == f"requests{last}"


async def test_a_server_that_is_not_there_is_unavailable(settings: Settings) -> None:
    nowhere = Settings.load({"DATABASE_URL": "postgresql://127.0.0.1:1/x", "REDIS_URL": settings.redis_url})
    with pytest.raises(Unavailable, match="DATABASE_URL"):
        await postgres.connect(nowhere, application="tests")


def test_queries_are_found_by_their_names() -> None:
    assert set(load_queries("accounts")) == {"create", "credit", "credited", "find", "list", "lock"}
    assert load_queries("accounts")["create"] == "INSERT INTO accounts (id, name) VALUES ($1, $2)"
