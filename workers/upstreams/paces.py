"""How many calls each upstream takes: one limit per upstream, model and service tier, shared in Redis, learned from how the
vendor answers. A vendor that has no room for calls at the tier flex says nothing of ordinary ones.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Literal, NamedTuple

from shared.errors import Unavailable
from shared.stores import keys

if TYPE_CHECKING:
    from shared.settings import Settings
    from shared.stores.scripts import Scripts

LIVE_MS = 3_600_000
Refusal = Literal["", "throttled", "used up"]
REPORT_EVERY_S = 0.25


class Pace(NamedTuple):
    """So many calls may be under way; nothing new for `wait_s` seconds."""

    limit: int
    wait_s: float


class Paces:
    """Workers tell how vendors answered, feeders and whoever chooses an upstream ask what that means; all by `pace_name`.
    `run` sends what was told, a task of the owner.
    """

    def __init__(
        self, scripts: Scripts, settings: Settings, closed_for: Callable[[str], float] = lambda _: 0.0
    ) -> None:
        """`closed_for` says for how many seconds more an upstream takes nothing, whatever its paces are."""
        self._closed_for = closed_for
        self._scripts = scripts
        self._start = settings.batch_concurrency_start
        self._max = settings.batch_concurrency_max
        self._succeeded: Counter[str] = Counter()
        self._limits: dict[str, int] = {}

    def succeeded(self, name: str) -> None:
        """The vendor answered."""
        self._succeeded[name] += 1

    async def throttled(self, name: str, retry_after_s: float, cool_s: float = 0.0) -> None:
        """The vendor refused a call because there are too many, and wants none at all for `cool_s`. Nobody learns of it while
        Redis is away.
        """
        await self._report(name, "throttled", retry_after_s, cool_s)

    async def used_up(self, name: str, reset_s: float, cool_s: float = 0.0) -> None:
        """The vendor says that its limit is used up for so long; it wants no call at all for `cool_s`."""
        await self._report(name, "used up", reset_s, cool_s)

    def known(self, name: str) -> int:
        """The limit as Redis said last when something was told to it; no call is made."""
        return self._limits.get(name, self._start)

    async def of(self, *names: str) -> Pace:
        """What several take together: nothing new only while all of them want nothing. Raises `Unavailable`."""
        if not names:
            return Pace(self._start, 0)
        asked = await asyncio.gather(*(self._ask(name, 0) for name in names))
        closed = [self._closed_for(name.rpartition("/")[0]) for name in names]
        paces = [Pace(pace.limit, max(pace.wait_s, wait_s)) for pace, wait_s in zip(asked, closed, strict=True)]
        taking = [pace for pace in paces if not pace.wait_s]
        if taking:
            return Pace(sum(pace.limit for pace in taking), 0)
        return Pace(sum(pace.limit for pace in paces), min((pace.wait_s for pace in paces), default=0.0))

    async def run(self) -> None:
        """Send what was told, until cancelled."""
        while True:
            await asyncio.sleep(REPORT_EVERY_S)
            await self.report()

    async def report(self) -> None:
        """Send what was told so far."""
        for name in list(self._succeeded):
            await self._report(name)

    async def _report(self, name: str, refusal: Refusal = "", wait_s: float = 0, cool_s: float = 0) -> None:
        successes = 0 if refusal else self._succeeded.pop(name, 0)
        try:
            await self._ask(name, successes, refusal, wait_s, cool_s)
        except Unavailable:
            return  # it is learned again

    async def _ask(
        self, name: str, successes: int, refusal: Refusal = "", wait_s: float = 0, cool_s: float = 0
    ) -> Pace:
        times = [int(wait_s * 1000), self._start, self._max, LIVE_MS, int(cool_s * 1000)]
        arguments = [successes, refusal, *times, name]
        limit, wait_ms = await self._scripts.call("pace", [keys.pace(name), keys.COOLING], arguments)
        self._limits[name] = limit
        return Pace(limit, wait_ms / 1000)
