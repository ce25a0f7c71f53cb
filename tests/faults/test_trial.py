"""A proof is alone with the cluster, also after one that failed."""

from __future__ import annotations

import pytest

from deploy.simulator.script import Script
from tests.faults.batch_runs import BatchRun, batch_session, questions
from tests.faults.conftest import Scale
from tests.faults.trial import Trial, trial
from tests.harness.cluster import Cluster

LINES = 500


class ProofFailed(Exception):
    """What a proof found out."""


async def test_a_proof_that_fails_leaves_nothing_running_to_the_next(cluster: Cluster, scale: Scale, seed: str) -> None:
    failed: list[Trial] = []
    with pytest.raises(ProofFailed):
        await _fail_beside_a_batch(cluster, scale, seed, failed)
    (run,) = failed
    assert await run.books.nothing_runs()


async def _fail_beside_a_batch(cluster: Cluster, scale: Scale, seed: str, failed: list[Trial]) -> None:
    async with trial(cluster, "failing", seed, scale.limit_s) as run, batch_session(run) as session:
        failed.append(run)
        batch = BatchRun(run, session, questions(run, LINES, "left", Script(first_ms=1_000)))
        await batch.send()
        await batch.done(0.01)
        cluster.pause(cluster.workers[0])
        raise ProofFailed
