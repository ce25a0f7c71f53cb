"""Scale, seed and figures of the proofs. `make proofs` runs them long, `make test` short; `SEED=…` repeats a run."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator

import msgspec
import pytest

from tests.harness.cluster import Cluster, running_cluster
from tests.harness.figures import FIGURE, SEED, Figures
from tests.harness.side_by_side import lease_of

DEFAULTS = {
    "KEEP_MESSAGES": "1",  # how a row of the database finds its caller
    "WORKER_QUEUES": "openai:interactive,openai:batch",
    "REQUEST_DEADLINE_S": "120",
    "IDLE_TIMEOUT_S": "12",  # longer than the grace of abandoned requests by much, also on a machine that is busy
    "ABANDONED_AFTER_S": "5",
    "HOLD_GRACE_S": "1",
}
"""As the service comes, except that what hangs is found out within a run."""
HURRIED = DEFAULTS | {
    "REQUEST_DEADLINE_S": "60",
    "IDLE_TIMEOUT_S": "6",
    "DATABASE_TIMEOUT_S": "2",
    "REDIS_TIMEOUT_S": "1",
    "SWEEP_EVERY_S": "1",
    "ABANDONED_AFTER_S": "1",
    "CUSTODY_EVERY_S": "1",
    "BATCH_LOST_AFTER_S": "2",
}
ENVIRONMENTS = {2: HURRIED | {"LEASE_S": "2"}, 10: DEFAULTS | {"LEASE_S": "10"}}
"""By the lease: a short one with short time limits, and the one that the service comes with."""


class Scale(msgspec.Struct, frozen=True, kw_only=True):
    """How much of each fault a run tries, for each of its leases; `limit_s` bounds each trial."""

    long: bool
    leases_s: tuple[int, ...] = (2,)
    callers: int = 12
    worker_kills: int = 3
    worker_pauses: int = 1
    door_kills: int = 1
    responses: int = 20
    response_rounds: int = 1
    batch_lines: int = 1_000
    batch_kills: int = 2
    batch_ends: int = 4
    batch_lines_unpaid: int = 50
    store_restarts: int = 1
    failovers: int = 1
    subscriber_kills: int = 5
    overspends: int = 3
    disconnects: int = 1
    rolling_restarts: int = 1
    switches: int = 1
    slow_readers: int = 12
    latencies: int = 60
    flex_lines: int = 150
    flex_kills: int = 1
    flex_latencies: int = 0
    upstream_callers: int = 2
    upstream_fault_s: float = 3.0
    upstream_requests: int = 300
    limit_s: float = 60.0


SHORT = Scale(long=False)
LONG = Scale(
    long=True,
    leases_s=(2, 10),
    callers=20,
    worker_kills=30,
    worker_pauses=10,
    door_kills=10,
    responses=50,
    response_rounds=10,
    batch_lines=50_000,
    batch_kills=40,
    batch_ends=60,
    batch_lines_unpaid=1_000,
    store_restarts=5,
    failovers=8,
    subscriber_kills=100,
    overspends=100,
    disconnects=10,
    rolling_restarts=5,
    switches=10,
    slow_readers=60,
    latencies=600,
    flex_lines=5_000,
    flex_kills=10,
    flex_latencies=200,
    upstream_callers=6,
    upstream_fault_s=30.0,
    upstream_requests=10_000,
    limit_s=900.0,
)
SCALE = LONG if os.environ.get("PROOFS") else SHORT


@pytest.fixture(scope="session")
def scale() -> Scale:
    return SCALE


@pytest.fixture(scope="session")
def seed() -> str:
    return SEED


@pytest.fixture
def figures(request: pytest.FixtureRequest) -> Iterator[Figures]:
    """What this test measures; its report carries it."""
    measured = Figures(lease_of(request.node.nodeid))
    yield measured
    request.node.user_properties.extend((FIGURE, tuple(line)) for line in measured.lines)


@pytest.fixture(scope="package", params=SCALE.leases_s, ids=lambda lease_s: f"lease {lease_s} s")
async def cluster(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Cluster]:
    """Two front doors and two workers behind proxies; every proof leaves it as it found it."""
    async with running_cluster(tmp_path_factory.mktemp("cluster"), ENVIRONMENTS[request.param]) as cluster:
        yield cluster
