"""Brings the database up to date: numbered SQL files, each applied once, in order.

`NNNN_title.sql` is applied in a transaction. `NNNN_title.concurrently.sql` has statements that cannot run in one, such as
`CREATE INDEX CONCURRENTLY IF NOT EXISTS …`. Each statement ends with `;` at the end of a line and must be repeatable,
because an interrupted file is run again from its first statement. Functions stand in files of their own, which are applied
after the migrations (`sql_functions.py`).
"""

from __future__ import annotations

import asyncio
import hashlib
import re
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import NamedTuple

import asyncpg

from shared.stores.brief_locks import LockTaken, brief_locks, in_the_way, when_free
from shared.stores.lock_numbers import Lock
from shared.stores.postgres import SQL_FOLDER
from shared.stores.sql_functions import FunctionFile, function_files

CONCURRENTLY = ".concurrently"
LOCK_PAUSE_S, LOOK_EVERY_S, CONNECT_S = 0.1, 1.0, 5.0
DAYS_KEPT_MAX = 3_650
"""The number of days for which migrations keep partitions: they only create new ones. Workers drop old ones, because
they know the settings.
"""
_INDEX = re.compile(r"CREATE (?:UNIQUE )?INDEX CONCURRENTLY IF NOT EXISTS (\w+)")
_IS_INVALID = "SELECT EXISTS (SELECT FROM pg_index WHERE indexrelid = to_regclass($1) AND NOT indisvalid)"


class MigrationError(RuntimeError):
    """The database and the migration files do not match; the message says how."""


class Migration(NamedTuple):
    """One file. `version` is the number in its name, `checksum` the SHA-256 of its text in hex."""

    version: int
    title: str
    sql: str
    checksum: str
    concurrently: bool = False
    """True if the file is applied outside a transaction, statement by statement."""


def migrations() -> list[Migration]:
    """All migration files, in order. Raises `MigrationError` if a number is missing or used twice."""
    found = []
    for number, path in enumerate(sorted((SQL_FOLDER / "migrations").glob("*.sql")), start=1):
        version, _, title = path.stem.partition("_")
        if int(version) != number:
            raise MigrationError(f"{path.name} should have the number {number:04d}")
        text = path.read_text(encoding="utf-8")
        checksum, concurrently = hashlib.sha256(text.encode()).hexdigest(), title.endswith(CONCURRENTLY)
        found.append(Migration(number, title.removesuffix(CONCURRENTLY), text, checksum, concurrently))
    return found


async def migrate(
    database_url: str,
    *,
    lock_timeout_s: float = 0.1,
    within_s: float = 600.0,
    on_wait: Callable[[str], None] = lambda _: None,
) -> list[str]:
    """Apply the missing migrations and the newer files of functions, and return the names of both. This may run from
    many places at once, repeatedly, and beside traffic: a lock that is not granted within `lock_timeout_s` is tried
    again later, and `on_wait` is told each time who has it.

    Raises `MigrationError` if an applied migration was changed, if functions were changed without a new revision, if
    the database is newer than these files, or if a lock was not granted `within_s`; what was applied before that stays.
    """
    connection, asking = [await asyncpg.connect(database_url) for _ in range(2)]
    try:
        async with asyncio.timeout(within_s):
            await _lock(connection)
        return await _Migrator(connection, asking, lock_timeout_s, within_s, on_wait).apply_missing()
    except TimeoutError:
        raise MigrationError(f"another migration has not ended within {within_s:g} s: try again later") from None
    except LockTaken as taken:
        raise MigrationError(
            f"a lock was not to be had within {within_s:g} s: {taken} stands in the way; run it again when that has ended"
        ) from taken
    finally:
        await asking.close()
        await connection.close()  # this releases the lock


async def wait_migrated(database_url: str, *, within_s: float) -> None:
    """Wait until another process has applied every migration of this release; apply nothing. After `within_s` raises
    `MigrationError`, or the last connection error.
    """
    until = time.monotonic() + within_s
    while True:
        try:
            connection = await asyncpg.connect(database_url, timeout=CONNECT_S)
            try:
                await require_migrated(connection)
            finally:
                await connection.close()
        except (MigrationError, OSError, TimeoutError, asyncpg.PostgresConnectionError):
            if time.monotonic() >= until:
                raise
            await asyncio.sleep(LOOK_EVERY_S)
        else:
            return


async def _lock(connection: asyncpg.Connection) -> None:
    """Get the migration lock by trying again and again, without waiting inside a statement: a waiting statement has a
    snapshot, and `CREATE INDEX CONCURRENTLY` waits for all snapshots to end.
    """
    while True:
        if await connection.fetchval("SELECT pg_try_advisory_lock($1)", Lock.MIGRATIONS):
            return
        await asyncio.sleep(LOCK_PAUSE_S)


class _Migrator(NamedTuple):
    """Applies migrations over a connection that holds the migration lock; `asking` finds the sessions that block it."""

    connection: asyncpg.Connection
    asking: asyncpg.Connection
    lock_timeout_s: float
    within_s: float
    on_wait: Callable[[str], None]

    async def apply_missing(self) -> list[str]:
        await self.connection.execute(
            "CREATE TABLE IF NOT EXISTS schema_migrations (version integer PRIMARY KEY, title text NOT NULL,"
            " checksum text NOT NULL, applied_at timestamptz NOT NULL DEFAULT now());"
            " CREATE TABLE IF NOT EXISTS schema_functions (name text PRIMARY KEY, revision integer NOT NULL,"
            " checksum text NOT NULL, applied_at timestamptz NOT NULL DEFAULT now())"
        )
        known = migrations()
        applied = {row["version"]: row for row in await self.connection.fetch("SELECT * FROM schema_migrations")}
        for row in applied.values():
            _check_applied(row["version"], row["checksum"], known)
        missing = [migration for migration in known if migration.version not in applied]
        for migration in missing:
            apply = self._apply_concurrently if migration.concurrently else self._apply
            await self._when_free(partial(apply, migration))
        changed = await self._changed_functions()
        await self._when_free(partial(self._apply_functions, changed))
        await self._when_free(self._make_partitions)
        names = [f"{migration.version:04d}_{migration.title}" for migration in missing]
        return names + [f"functions/{file.name} revision {file.revision}" for file in changed]

    async def _when_free(self, change: Callable[[], Awaitable[None]]) -> None:
        await when_free(change, within_s=self.within_s, on_wait=self.on_wait)

    async def _apply(self, migration: Migration) -> None:
        async with brief_locks(self.connection, self.lock_timeout_s, self.asking):
            await self.connection.execute(migration.sql)
            await self._note(migration)

    async def _changed_functions(self) -> list[FunctionFile]:
        """The files whose revision is newer than the database's."""
        rows = await self.connection.fetch("SELECT name, revision, checksum FROM schema_functions")
        applied = {row["name"]: (row["revision"], row["checksum"]) for row in rows}
        for file in function_files():
            revision, checksum = applied.get(file.name, (0, ""))
            if revision == file.revision and checksum != file.checksum:
                raise MigrationError(
                    f"functions/{file.name}.sql was changed after it was applied: give its first line the next revision"
                )
        return [file for file in function_files() if file.revision > applied.get(file.name, (0, ""))[0]]

    async def _apply_functions(self, files: list[FunctionFile]) -> None:
        async with brief_locks(self.connection, self.lock_timeout_s, self.asking):
            for file in files:
                await self.connection.execute(file.sql)
                await self.connection.execute(
                    "INSERT INTO schema_functions (name, revision, checksum) VALUES ($1, $2, $3) ON CONFLICT (name)"
                    " DO UPDATE SET revision = $2, checksum = $3, applied_at = now()",
                    *(file.name, file.revision, file.checksum),
                )

    async def _apply_concurrently(self, migration: Migration) -> None:
        """Apply the statements one by one. Traffic does not wait behind these locks, so the migration waits for them.
        An index whose creation broke off is created anew.
        """
        await self.connection.execute("SELECT set_config('lock_timeout', $1, false)", f"{int(self.within_s * 1000)}ms")
        async with in_the_way(self.connection, LOOK_EVERY_S, self.asking, self.on_wait):
            for statement in migration.sql.split(";\n"):
                for index in _INDEX.findall(statement):
                    if await self.connection.fetchval(_IS_INVALID, index):
                        await self.connection.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {index}")
                if statement.strip():
                    await self.connection.execute(statement)
        await self._note(migration)

    async def _note(self, migration: Migration) -> None:
        await self.connection.execute(
            "INSERT INTO schema_migrations (version, title, checksum) VALUES ($1, $2, $3)",
            migration.version,
            migration.title,
            migration.checksum,
        )

    async def _make_partitions(self) -> None:
        async with brief_locks(self.connection, self.lock_timeout_s, self.asking):
            await self.connection.execute("SELECT ensure_partitions(3)")
            await self.connection.execute("SELECT pg_advisory_xact_lock($1)", Lock.DAYS)
            await self.connection.execute("SELECT rotate_days(3, $1)", DAYS_KEPT_MAX)


def _check_applied(version: int, checksum: str, known: list[Migration]) -> None:
    if version > len(known):
        raise MigrationError(
            f"the database has migration {version:04d}, which this release does not know: deploy a newer one"
        )
    if known[version - 1].checksum != checksum:
        raise MigrationError(
            f"migration {version:04d} was changed after it was applied: restore the file, add a new one"
        )


async def require_migrated(pool: asyncpg.Pool | asyncpg.Connection) -> None:
    """Raise `MigrationError` unless every migration and every revision of functions of this release is applied."""
    try:
        version = await pool.fetchval("SELECT max(version) FROM schema_migrations")
        rows = await pool.fetch("SELECT name, revision FROM schema_functions")
    except asyncpg.UndefinedTableError:
        version, rows = None, []
    revisions = {row["name"]: row["revision"] for row in rows}
    old = [file.name for file in function_files() if revisions.get(file.name, 0) < file.revision]
    if (version or 0) < len(migrations()) or old:
        raise MigrationError("the database is not migrated: run `rebootml migrate`")
