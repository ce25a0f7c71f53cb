"""A small caller beside large ones that have thousands waiting has one of the next slots that are freed."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest

from tests.faults.conftest import Scale
from tests.harness.caller import Caller, told
from tests.harness.cluster import Cluster, running_cluster
from tests.harness.customer import customer
from tests.harness.figures import Figures

PROOF = "30 turns"
ENVIRONMENT = {"WORKER_SLOTS": "40", "WORKER_QUEUES": "openai:interactive,openai:batch"}
CALL_MS = 2_000
TOKENS = 20
OVERTAKEN_MAX = 96
"""Calls of others that may begin after a small caller's request was sent and before its own: twice as many as the vendor has
slots here, 60 % of 40 at each worker. They end together, so that all of them may be filled while the request is on its way
to the queue, and once more in the same claims as its own.
"""
SMALL_REQUESTS = 10
SENT_AT_ONCE = 50
SHORT = {1: 600, 11: 100}
"""Requests of each large caller in a short run."""
ASYNC = {"Prefer": "respond-async"}


@pytest.fixture(scope="module")
async def crowded(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Cluster]:
    async with running_cluster(
        tmp_path_factory.mktemp("turns"), ENVIRONMENT, doors=1, workers=2, direct=True
    ) as running:
        yield running


@pytest.mark.parametrize("large", list(SHORT))
async def test_a_small_caller_waits_for_a_slot_and_not_for_the_crowd(
    crowded: Cluster, scale: Scale, figures: Figures, large: int
) -> None:
    async with AsyncExitStack() as stack:
        small, *others = [await stack.enter_async_context(customer(crowded)) for _ in range(1 + large)]
        alone = [await _asked(small, f"alone{large}-{number}") for number in range(SMALL_REQUESTS)]
        accepted = Counter[int]()
        for other in others:
            accepted += await _fill(other, 1_000 if scale.long else SHORT[large], f"large{large}")
        beside = [await _asked(small, f"small{large}-{number}") for number in range(SMALL_REQUESTS)]
        overtaken = await _overtaken(crowded, large, [sent_at for sent_at, _ in beside])
        for other in others:
            await _send_away(crowded, other)
    assert set(accepted) <= {202, 503}
    assert accepted[202] > SENT_AT_ONCE
    assert max(overtaken) <= OVERTAKEN_MAX, overtaken
    figures.add(PROOF, f"{large} large callers: requests taken, refused", f"{accepted[202]:,}, {accepted[503]:,}")
    figures.add(PROOF, f"{large} large callers: calls that began before a small one's", max(overtaken))
    figures.spread(PROOF, f"{large} large callers: a small request alone", [took_s for _, took_s in alone])
    figures.spread(PROOF, f"{large} large callers: a small request beside them", [took_s for _, took_s in beside])


async def _asked(caller: Caller, key: str) -> tuple[float, float]:
    """When a short request was sent, and the seconds until its answer."""
    sent_at, began = time.time(), time.monotonic()
    assert (await caller.chat(told(tokens=1, key=key), max_tokens=10)).status == 200
    return sent_at, time.monotonic() - began


async def _fill(caller: Caller, requests: int, key: str) -> Counter[int]:
    """So many long requests of one account; gives how many answers of which status there were."""
    statuses = Counter[int]()
    slowly = told(tokens=TOKENS, pace_ms=CALL_MS // TOKENS, key=key)
    for _ in range(0, requests, SENT_AT_ONCE):
        answers = await asyncio.gather(
            *(caller.chat(slowly, headers=ASYNC, max_tokens=TOKENS) for _ in range(SENT_AT_ONCE))
        )
        statuses.update(answer.status for answer in answers)
    return statuses


async def _overtaken(cluster: Cluster, large: int, sent_at: list[float]) -> list[int]:
    """How many calls of the large callers began between each small request and its own call."""
    began = [call.started_at for call in await cluster.simulator.calls(f"large{large}")]
    own = {call.key: call.started_at for call in await cluster.simulator.calls(f"small{large}-")}
    return [
        sum(sent <= other < own[f"small{large}-{number}"] for other in began) for number, sent in enumerate(sent_at)
    ]


async def _send_away(cluster: Cluster, caller: Caller) -> None:
    """With its key everything ends that it has waiting."""
    await cluster.postgres.fetch("UPDATE api_keys SET revoked_at = now() WHERE account_id = $1", caller.account_id)
