"""The pace of each upstream: how many calls it takes at once. There is one limit per upstream, model and service tier,
shared in Redis and learned from the vendor's answers. A vendor without capacity at the tier flex may still have
capacity for ordinary calls.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections import Counter
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Literal, NamedTuple

from shared.errors import Unavailable
from shared.stores import keys

if TYPE_CHECKING:
    from shared.settings import Settings
    from shared.stores.redis_connections import Word
    from shared.stores.scripts import Scripts

LIVE_MS = 3_600_000
Refusal = Literal["", "throttled", "used up"]
REPORT_EVERY_S = 0.25


class Pace(NamedTuple):
    """A limit of calls at once; if `wait_s` is not 0, no new call begins for that many seconds."""

    limit: int
    wait_s: float
    learned: bool = True
    """False if the reported refusal was left out of account."""


class Report(NamedTuple):
    """What the vendor's answers say of a pace: that it takes no more for `wait_s`, and no call at all for `cool_s`. The
    refused call, or the last of the answered ones, began `took_s` ago; below 0 if a vendor in trouble refused the call.
    """

    refusal: Refusal = ""
    wait_s: float = 0.0
    cool_s: float = 0.0
    took_s: float = 0.0
    is_repeat: bool = False


ANSWERED = Report()


class CallTurn(NamedTuple):
    """The turn of a call at the upstream with the number `place` among those that were asked for. It comes in `in_s`
    seconds, unless a call is refused before: then another `round` begins. A turn that comes too late is not `taken`.
    """

    place: int = 0
    in_s: float = 0.0
    round: int = 0
    taken: bool = True


NO_TURNS = CallTurn()


class Paces:
    """Shares the paces: workers report the vendors' answers, feeders and `routes.py` read the limits, all by
    `pace_name`. The owner runs `run` as a task, which sends the reports.
    """

    def __init__(
        self, scripts: Scripts, settings: Settings, unavailable_for_s: Callable[[str], float] = lambda _: 0.0
    ) -> None:
        """`unavailable_for_s` returns the seconds for which an upstream takes nothing, whatever its paces are."""
        self._unavailable_for_s = unavailable_for_s
        self._scripts = scripts
        self._start = settings.batch_concurrency_start
        self._max = settings.batch_concurrency_max
        self._succeeded: Counter[str] = Counter()
        self._began_at: dict[str, float] = {}
        """By pace name, the monotonic time at which the last of the reported calls began."""
        self._limits: dict[str, int] = {}
        self._lines: set[str] = set()
        self._told = asyncio.Event()

    def succeeded(self, name: str, took_s: float = 0.0) -> None:
        """Note that the vendor answered a call that began `took_s` ago. If calls take turns, waiting requests profit
        from learning this at once.
        """
        self._succeeded[name] += 1
        self._began_at[name] = max(self._began_at.get(name, 0.0), time.monotonic() - took_s)
        if name in self._lines:
            self._told.set()

    async def throttled(
        self,
        name: str,
        retry_after_s: float,
        cool_s: float = 0.0,
        took_s: float | None = None,
        *,
        is_repeat: bool = False,
    ) -> bool:
        """Note that the vendor refused a call because there are too many, and wants none at all for `cool_s`. Calls go
        one after the other from now on if the vendor itself said so, for a call that began `took_s` ago. The report is
        lost while Redis is away. False if that is the request's own trouble: its call `is_repeat` of one that was refused
        before, while calls of others are answered.
        """
        if name in self._lines:
            await self._report(name)
        self._began_at.pop(name, None)
        took_s = -1 if took_s is None else took_s
        return await self._report(name, Report("throttled", retry_after_s, cool_s, took_s, is_repeat))

    def is_in_turn(self, name: str) -> bool:
        """True if calls go one after the other, as far as is known here."""
        return name in self._lines

    async def turn(self, names: Mapping[str, float], within_s: float, *, round: int | None = None) -> CallTurn:  # noqa: A002
        """The earliest turn at these upstreams, which have no turns for the given seconds. With `round`, the answer
        says whether a turn that has come is still valid. While Redis is away every call may go.
        """
        words: list[Word] = [int(within_s * 1000), "" if round is None else round]
        words += [math.ceil(wait_s * 1000) for wait_s in names.values()]
        try:
            place, wait_ms, number, taken = await self._scripts.call("turn", list(map(keys.pace, names)), words)
        except Unavailable:
            return NO_TURNS
        return CallTurn(place, wait_ms / 1000, number, bool(taken))

    async def used_up(self, name: str, reset_s: float, cool_s: float = 0.0) -> None:
        """Note that the vendor's limit is used up for `reset_s`, and that the vendor wants no call at all for `cool_s`."""
        await self._report(name, Report("used up", reset_s, cool_s))

    def known(self, name: str) -> int:
        """The limit in Redis's last answer to a report; Redis is not asked."""
        return self._limits.get(name, self._start)

    async def of(self, *names: str) -> Pace:
        """The pace of several names together: a wait only if none of them takes a call. Raises `Unavailable`."""
        if not names:
            return Pace(self._start, 0)
        asked = await asyncio.gather(*(self._ask(name, 0, ANSWERED) for name in names))
        closed = [self._unavailable_for_s(name.rpartition("/")[0]) for name in names]
        paces = [Pace(pace.limit, max(pace.wait_s, wait_s)) for pace, wait_s in zip(asked, closed, strict=True)]
        taking = [pace for pace in paces if not pace.wait_s]
        if taking:
            return Pace(sum(pace.limit for pace in taking), 0)
        return Pace(sum(pace.limit for pace in paces), min((pace.wait_s for pace in paces), default=0.0))

    async def run(self) -> None:
        """Send the reports until cancelled."""
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(REPORT_EVERY_S):
                    await self._told.wait()
            self._told.clear()
            await self.report()

    async def report(self) -> None:
        """Send the reports that have come so far."""
        for name in list(self._succeeded):
            await self._report(name)

    async def _report(self, name: str, report: Report = ANSWERED) -> bool:
        successes = 0 if report.refusal else self._succeeded.pop(name, 0)
        if successes:
            report = Report(took_s=time.monotonic() - self._began_at.pop(name, time.monotonic()))
        try:
            return (await self._ask(name, successes, report)).learned
        except Unavailable:
            return True  # the pace is learned again

    async def _ask(self, name: str, successes: int, report: Report) -> Pace:
        words: list[Word] = [successes, report.refusal, int(report.wait_s * 1000), self._start, self._max, LIVE_MS]
        words += [math.ceil(report.cool_s * 1000), name, math.floor(report.took_s * 1000), int(report.is_repeat)]
        limit, wait_ms, in_line, learned = await self._scripts.call("pace", [keys.pace(name), keys.COOLING], words)
        self._limits[name] = limit
        if in_line:
            self._lines.add(name)
        else:
            self._lines.discard(name)
        return Pace(limit, wait_ms / 1000, bool(learned))
