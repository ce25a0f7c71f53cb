"""The service with one front door and one worker for every vendor, and somebody's key."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import asyncpg
import pytest

from deploy.local.vendors import for_workers
from shared.ledger.accounts import create_account
from shared.ledger.api_keys import KeyRules, create_key
from shared.money import NanoUsd
from tests.clients.gateway import Gateway
from tests.clients.responses.cells import PLAN, Cell, Keys, table
from tests.harness.cluster import Cluster, running_cluster

NewKey = Callable[..., Awaitable[str]]
ENVIRONMENT = {
    "LEASE_S": "3",
    "VENDOR_RETRIES_MAX": "0",  # so that it is the client that asks again
}


@pytest.fixture(scope="package")
async def service(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Cluster]:
    folder = tmp_path_factory.mktemp("gateway")
    async with running_cluster(folder, ENVIRONMENT, doors=1, workers=1, direct=True) as cluster:
        cluster.start("worker-2", **simulated(f"http://127.0.0.1:{cluster.simulator.port}"))
        await cluster.simulator.hurry()
        await cluster.ready()
        yield cluster


def simulated(url: str) -> dict[str, Any]:
    """What a worker is told for whom the simulator there is every vendor."""
    return for_workers({}, url)


@pytest.fixture(scope="package")
async def new_key(service: Cluster) -> AsyncIterator[NewKey]:
    """Makes an account with so much credit in nano-USD, and a key that may ask so often in a minute."""
    async with asyncpg.create_pool(service.postgres.url, min_size=1, max_size=1) as pool:

        async def make(credit: int = 10_000_000_000, rpm: int | None = None) -> str:
            account = await create_account(pool, "someone", NanoUsd(credit))
            return (await create_key(pool, account.id, KeyRules(rpm=rpm))).key

        yield make


@pytest.fixture(scope="package")
async def gateway(service: Cluster, new_key: NewKey) -> Gateway:
    return Gateway(service.url("web-1"), await new_key())


@pytest.fixture(scope="package")
async def cells(service: Cluster, gateway: Gateway, new_key: NewKey) -> list[Cell]:
    """What clients of the Responses API are asked; the simulated models know what to do with its tool."""
    await service.simulator.plan(PLAN)
    return table(Keys(good=gateway.key, poor=await new_key(credit=0)))
