"""Brings the database up to date: numbered SQL files, each applied once, in order."""

from __future__ import annotations

import asyncio
import hashlib
from typing import NamedTuple

import asyncpg

from shared.stores.postgres import SQL_FOLDER

MIGRATION_LOCK = 7_201_001


class MigrationError(RuntimeError):
    """The database and the migration files do not fit together; the message says how."""


class Migration(NamedTuple):
    """One file: `version` from its name, `checksum` SHA-256 of its text in hex."""

    version: int
    title: str
    sql: str
    checksum: str


def migrations() -> list[Migration]:
    """Every migration file, in order; raises `MigrationError` when a number is missing or taken twice."""
    found = []
    for number, path in enumerate(sorted((SQL_FOLDER / "migrations").glob("*.sql")), start=1):
        version, _, title = path.stem.partition("_")
        if int(version) != number:
            raise MigrationError(f"{path.name} should have the number {number:04d}")
        text = path.read_text()
        found.append(Migration(number, title, text, hashlib.sha256(text.encode()).hexdigest()))
    return found


async def migrate(database_url: str, *, timeout_s: float = 60.0) -> list[str]:
    """Apply what is missing; returns the names applied. Safe to run from many places at once and again.

    Raises `MigrationError` when an applied file was changed since, or the database is ahead of these files.
    """
    async with asyncio.timeout(timeout_s):
        connection = await asyncpg.connect(database_url)
        try:
            await connection.execute("SELECT pg_advisory_lock($1)", MIGRATION_LOCK)
            return await _apply_missing(connection)
        finally:
            await connection.close()  # which gives the lock back


async def _apply_missing(connection: asyncpg.Connection) -> list[str]:
    await connection.execute(
        "CREATE TABLE IF NOT EXISTS schema_migrations (version integer PRIMARY KEY, title text NOT NULL,"
        " checksum text NOT NULL, applied_at timestamptz NOT NULL DEFAULT now())"
    )
    known = migrations()
    applied = {row["version"]: row for row in await connection.fetch("SELECT * FROM schema_migrations")}
    for row in applied.values():
        _check_applied(row["version"], row["checksum"], known)
    missing = [migration for migration in known if migration.version not in applied]
    for migration in missing:
        async with connection.transaction():
            await connection.execute(migration.sql)
            await connection.execute(
                "INSERT INTO schema_migrations (version, title, checksum) VALUES ($1, $2, $3)",
                migration.version,
                migration.title,
                migration.checksum,
            )
    await connection.execute("SELECT ensure_partitions(3)")
    return [f"{migration.version:04d}_{migration.title}" for migration in missing]


def _check_applied(version: int, checksum: str, known: list[Migration]) -> None:
    if version > len(known):
        raise MigrationError(
            f"the database has migration {version:04d}, which this release does not know: deploy a newer one"
        )
    if known[version - 1].checksum != checksum:
        raise MigrationError(
            f"migration {version:04d} was changed after it was applied: restore the file, add a new one"
        )


async def require_migrated(pool: asyncpg.Pool) -> None:
    """Raises `MigrationError` unless every migration of this release is applied."""
    try:
        version = await pool.fetchval("SELECT max(version) FROM schema_migrations")
    except asyncpg.UndefinedTableError:
        version = None
    if (version or 0) < len(migrations()):
        raise MigrationError("the database is not migrated: run `rebootml migrate`")
