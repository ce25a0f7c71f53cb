"""One simulator and one set of providers for all of these tests."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from deploy.simulator.app import Running, running_simulator
from tests.conformance.cases import Vendors


@pytest.fixture(scope="session")
async def simulator() -> AsyncIterator[Running]:
    async with running_simulator() as running:
        yield running


@pytest.fixture(scope="session")
async def vendors(simulator: Running) -> AsyncIterator[Vendors]:
    made = Vendors(simulator)
    yield made
    await made.close()
