from __future__ import annotations

import asyncio

from tests.e2e.conftest import NewCaller
from tests.harness.caller import told
from tests.harness.support import eventually_true

FIRST, SECOND = "openai-gpt-4o-mini", "openai-gpt-4o"


async def test_a_chain_comes_back_to_its_first_model_after_its_vendor_throttled_it(new_caller: NewCaller) -> None:
    caller = await new_caller()

    async def first_serves() -> bool:
        return (await caller.chat(told(tokens=1), FIRST, models=[SECOND])).headers["x-model-served"] == FIRST

    for _ in range(2):
        await asyncio.gather(*(caller.chat(told(status=429), FIRST) for _ in range(4)))
        await eventually_true(first_serves, "the first model is called again", 30)
