"""When Redis comes back, a worker asks for jobs only after it has said so, and after the others had time to renew theirs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from arq.connections import ArqRedis

from shared.settings import Settings
from shared.stores.redis_connections import Word
from tests.harness.support import eventually
from tests.integration.working import LONG_S, Gate, put, working


async def test_a_worker_with_nothing_to_renew_renews_all_the_same_before_it_claims(settings: Settings) -> None:
    gate = Gate()
    async with working(settings, gate.function) as process:
        real, asked = process.lua.call, list[str]()

        async def call(name: str, names: Sequence[str], arguments: Sequence[Word]) -> Any:
            asked.append(name)
            return await real(name, names, arguments)

        process.lua.call = call  # type: ignore[method-assign,assignment] # the real one, written down
        process.worker.leases.outage = True
        await eventually(lambda: "claim" in asked, "it claims again")
    assert asked[asked.index("renew") :][:2] == ["renew", "claim"]
    assert asked.index("renew") < asked.index("claim")


async def test_a_worker_claims_as_soon_as_it_may_and_not_at_its_next_look(
    redis_client: ArqRedis, settings: Settings
) -> None:
    gate = Gate()
    async with working(settings, gate.function, idle_wait_s=LONG_S) as process:
        await eventually(lambda: process.worker._intake.heard, "it listens")
        process.worker.leases.outage = True
        await put(redis_client, "wait")
        process.worker._something_to_do.set()
        await gate.has(1)
