"""The service with one front door and one worker, and somebody's key."""

from __future__ import annotations

from collections.abc import AsyncIterator

import asyncpg
import pytest

from shared.accounts import create_account
from shared.credentials import KeyRules, create_key
from shared.money import NanoUsd
from tests.clients.gateway import Gateway
from tests.faults.cluster import running_cluster

ENVIRONMENT = {"LEASE_S": "3"}


@pytest.fixture(scope="session")
async def gateway(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Gateway]:
    folder = tmp_path_factory.mktemp("gateway")
    async with running_cluster(folder, ENVIRONMENT, doors=1, workers=1, direct=True) as cluster:
        async with asyncpg.create_pool(cluster.postgres.url, min_size=1, max_size=1) as pool:
            account = await create_account(pool, "someone", NanoUsd(10_000_000_000))
            key = (await create_key(pool, account.id, KeyRules())).key
        yield Gateway(cluster.url("web-1"), key)
