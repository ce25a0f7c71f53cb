"""A migrated database and an empty Redis for each test module, and the core's objects on them.

`database_url`, `pool` and `settings` belong to a module, whose tests isolate by their own rows; `redis_client` and what
stands on it belong to one test, which finds Redis empty.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest
from arq.connections import ArqRedis

from shared.job import arq_deserializer, arq_serializer
from shared.ledger.accounts import create_account
from shared.ledger.endings import Endings
from shared.ledger.ledger import Ledger
from shared.money import NanoUsd
from shared.queue.queue import Queue
from shared.settings import Settings
from shared.stores import migrations, postgres
from shared.stores.redis_client import connect as connect_redis
from shared.stores.scripts import Scripts

TEMPLATE = "template_migrated"
REDIS_DATABASES = 15
_numbers = itertools.count()

NewAccount = Callable[[int], Awaitable[str]]


def database_named(url: str, name: str) -> str:
    """The URL of another database on the same server."""
    return urlunsplit(urlsplit(url)._replace(path=f"/{name}"))


async def execute(url: str, statement: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


@contextlib.asynccontextmanager
async def running(*writers: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Run background writers for as long as the block lasts."""
    tasks = [asyncio.ensure_future(writer) for writer in writers]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@pytest.fixture(scope="session")
async def template_database(postgres_url: str) -> str:
    """The name of a migrated database that others are copied from."""
    await execute(postgres_url, f"CREATE DATABASE {TEMPLATE}")
    await migrations.migrate(database_named(postgres_url, TEMPLATE))
    return TEMPLATE


@contextlib.asynccontextmanager
async def a_database(server_url: str, template: str) -> AsyncIterator[str]:
    """A copy of a template for as long as the block lasts; gives its URL."""
    name = f"test_{next(_numbers)}"
    await execute(server_url, f"CREATE DATABASE {name} TEMPLATE {template}")
    try:
        yield database_named(server_url, name)
    finally:
        await execute(server_url, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
async def empty_database_url(postgres_url: str) -> AsyncIterator[str]:
    """A database of this test's own without a table."""
    async with a_database(postgres_url, "template0") as url:
        yield url


@pytest.fixture
async def fresh_database_url(postgres_url: str, template_database: str) -> AsyncIterator[str]:
    """A migrated database of this test's own."""
    async with a_database(postgres_url, template_database) as url:
        yield url


@pytest.fixture(scope="module")
async def database_url(postgres_url: str, template_database: str) -> AsyncIterator[str]:
    """A migrated database of this module's own."""
    async with a_database(postgres_url, template_database) as url:
        yield url


@pytest.fixture(scope="module")
async def redis_database_url(redis_url: str) -> AsyncIterator[str]:
    """A Redis database of this module's own, empty when it begins and when it ends."""
    url = f"{redis_url.partition('?')[0]}?db={1 + next(_numbers) % REDIS_DATABASES}"
    async with ArqRedis.from_url(url) as client:
        await client.flushdb()
        yield url
        await client.flushdb()


@pytest.fixture(scope="module")
def settings(database_url: str, redis_database_url: str) -> Settings:
    """The defaults on this module's stores."""
    return Settings.load({"DATABASE_URL": database_url, "REDIS_URL": redis_database_url})


@pytest.fixture(scope="module")
async def pool(settings: Settings) -> AsyncIterator[asyncpg.Pool]:
    """Connections as every process makes them."""
    async with await postgres.connect(settings, application="tests") as connections:
        yield connections


@pytest.fixture
async def ledger(pool: asyncpg.Pool, settings: Settings) -> AsyncIterator[Ledger]:
    """A ledger whose writers run."""
    books = Ledger(pool, settings)
    async with running(books.run_reserve(), books.run_settle()):
        yield books


@pytest.fixture
async def endings(pool: asyncpg.Pool, settings: Settings) -> AsyncIterator[Endings]:
    """Knows which requests have ended."""
    known = Endings(pool, settings, pool.expire_connections)
    async with running(known.run()):
        yield known


@pytest.fixture
def new_account(pool: asyncpg.Pool) -> NewAccount:
    """Makes an account with that much credit in nano-USD; gives its id."""

    async def make(credit: int) -> str:
        return (await create_account(pool, "someone", NanoUsd(credit))).id

    return make


@pytest.fixture
async def redis_client(settings: Settings) -> AsyncIterator[ArqRedis]:
    """A client as a worker makes it, on an empty Redis; what arq itself enqueues is msgpack, too."""
    client: ArqRedis = connect_redis(settings, kind=ArqRedis)
    client.job_serializer, client.job_deserializer = arq_serializer, arq_deserializer
    await client.flushdb()
    yield client
    await client.aclose()


@pytest.fixture
async def lua(redis_client: ArqRedis, settings: Settings) -> AsyncIterator[Scripts]:
    """The scripts on a connection of their own."""
    with contextlib.closing(Scripts(redis_client, settings)) as calls:
        yield calls


@pytest.fixture
def queue(lua: Scripts) -> Queue:
    """A queue with leases of ten seconds and room for a hundred."""
    return Queue(lua, lease_s=10, keep_run_s=60, depth_max=100)
