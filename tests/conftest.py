"""Servers for the tests that need real ones: of their own, in a temporary folder, stopped at the end."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from deploy.local.stores import embedded_postgres, embedded_valkey
from tests.harness.servers import UNSYNCED
from tests.harness.side_by_side import arrange


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    arrange(items)


@pytest.fixture(scope="session")
def stores_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("stores")


@pytest.fixture(scope="session")
async def postgres_url(stores_folder: Path) -> AsyncIterator[str]:
    """An empty database `rebootml`, shared by the session: whoever uses it migrates and isolates by its own rows."""
    async with embedded_postgres(stores_folder, UNSYNCED) as url:
        yield url


@pytest.fixture(scope="session")
async def redis_url(stores_folder: Path) -> AsyncIterator[str]:
    """A Valkey shared by the session; it starts empty."""
    async with embedded_valkey(stores_folder) as url:
        yield url
