from __future__ import annotations

import asyncio

from tests.e2e.conftest import NewCaller
from tests.harness.caller import told
from tests.harness.cluster import Cluster
from tests.harness.support import eventually_true

FIRST, SECOND = "openai-gpt-5.6-sol", "openai-gpt-4o"
"""No other test asks for the first one, whose calls take turns here."""


async def test_a_chain_comes_back_to_its_first_model_after_its_vendor_throttled_it(new_caller: NewCaller) -> None:
    caller = await new_caller()

    async def first_serves() -> bool:
        return (await caller.chat(told(tokens=1), FIRST, models=[SECOND])).headers["x-model-served"] == FIRST

    for _ in range(2):
        await asyncio.gather(*(caller.chat(told(status=429), FIRST) for _ in range(4)))
        await eventually_true(first_serves, "the first model is called again", 30)


async def test_a_request_that_is_throttled_for_ever_keeps_nobody_else_from_its_model(
    new_caller: NewCaller, cluster: Cluster
) -> None:
    caller, other = await new_caller(), await new_caller()
    refused = asyncio.create_task(caller.chat(told(status=429, retry_after=1, key="for-ever"), FIRST))

    async def its_calls() -> int:
        return len(await cluster.simulator.calls("for-ever"))

    async def is_repeated() -> bool:
        return await its_calls() > 1

    await eventually_true(is_repeated, "the request is called again")
    before, answers = await its_calls(), 3
    for _ in range(answers):
        assert (await other.chat(told(tokens=1), FIRST)).status == 200
    assert await its_calls() <= before + answers + 1, "others are answered between two of its calls"
    refused.cancel()
