"""How fast batches may go at each vendor: one limit per model and service tier, shared in Redis, learned from how the vendor
answers. A vendor that has no room for calls at the tier flex says nothing of ordinary ones.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING, Literal, NamedTuple

from shared.errors import Unavailable
from shared.lanes import ServiceTier
from shared.stores import keys

if TYPE_CHECKING:
    from shared.settings import Settings
    from shared.stores.scripts import Scripts

LIVE_MS = 3_600_000
Refusal = Literal["", "throttled", "used up"]
REPORT_EVERY_S = 0.25


def pace_name(model: str, tier: ServiceTier) -> str:
    """Under which the calls of a model at a tier have their pace."""
    return f"{model}:{tier}" if tier == "flex" else model


class Pace(NamedTuple):
    """So many calls of a model may be under way; nothing new for `wait_s` seconds."""

    limit: int
    wait_s: float


class Paces:
    """Workers tell how vendors answered, feeders ask what that means; a model is named by its `pace_name`. `run` sends what
    was told, a task of the owner.
    """

    def __init__(self, scripts: Scripts, settings: Settings) -> None:
        self._scripts = scripts
        self._start = settings.batch_concurrency_start
        self._max = settings.batch_concurrency_max
        self._succeeded: Counter[str] = Counter()

    def succeeded(self, model: str) -> None:
        """The vendor answered."""
        self._succeeded[model] += 1

    async def throttled(self, model: str, retry_after_s: float) -> None:
        """The vendor refused a call because there are too many. While Redis is away nobody learns of it."""
        await self._report(model, "throttled", retry_after_s)

    async def used_up(self, model: str, reset_s: float) -> None:
        """The vendor says that it takes no more for so long."""
        await self._report(model, "used up", reset_s)

    async def of(self, model: str) -> Pace:
        """Raises `Unavailable`."""
        return await self._ask(model, 0)

    async def run(self) -> None:
        """Send what was told, until cancelled."""
        while True:
            await asyncio.sleep(REPORT_EVERY_S)
            await self.report()

    async def report(self) -> None:
        """Send what was told so far."""
        for model in list(self._succeeded):
            await self._report(model)

    async def _report(self, model: str, refusal: Refusal = "", wait_s: float = 0) -> None:
        successes = 0 if refusal else self._succeeded.pop(model, 0)
        try:
            await self._ask(model, successes, refusal, wait_s)
        except Unavailable:
            return  # it is learned again

    async def _ask(self, model: str, successes: int, refusal: Refusal = "", wait_s: float = 0) -> Pace:
        arguments = [successes, refusal, int(wait_s * 1000), self._start, self._max, LIVE_MS]
        limit, wait_ms = await self._scripts.call("pace", [keys.pace(model)], arguments)
        return Pace(limit, wait_ms / 1000)
