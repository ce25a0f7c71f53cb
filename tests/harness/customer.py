"""A customer of a cluster with money enough."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import asyncpg

from shared.ledger.accounts import create_account
from shared.ledger.api_keys import KeyRules, create_key
from shared.money import NanoUsd
from tests.harness.caller import Caller
from tests.harness.cluster import Cluster

CREDIT = NanoUsd(100_000_000_000)


@asynccontextmanager
async def customer(cluster: Cluster, credit: NanoUsd = CREDIT) -> AsyncIterator[Caller]:
    """With connections of its own, as many as it needs."""
    async with asyncpg.create_pool(cluster.postgres.url, min_size=1, max_size=1) as pool:
        account = await create_account(pool, "someone", credit)
        key = await create_key(pool, account.id, KeyRules())
    connector, timeout = aiohttp.TCPConnector(limit=0), aiohttp.ClientTimeout(total=None)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
        yield Caller(session, cluster, account.id, key.key)
