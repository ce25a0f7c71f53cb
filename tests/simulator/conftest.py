"""A simulator for each file, and for each test that needs it one that has forgotten what came before."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from deploy.simulator.app import Running, running_simulator
from deploy.simulator.script import Script

DEFAULTS = Script(first_ms=0, pace_ms=0, cache=False)
"""What the simulator does unless a test says otherwise: it does not wait, and its vendors know nothing from before."""


@pytest.fixture(scope="module")
async def served() -> AsyncIterator[Running]:
    async with running_simulator(DEFAULTS) as running:
        yield running


@pytest.fixture
def simulator(served: Running) -> Iterator[Running]:
    yield served
    served.simulator.reset()
