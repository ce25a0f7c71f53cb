"""Keys and regions of a vendor that fail, each in its own way: what callers lose and wait, and what it costs."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from typing import Any, NamedTuple

import pytest

from deploy.simulator.calls import Call
from deploy.simulator.script import Script
from shared.money import nano_to_usd
from tests.faults.checker import Promise
from tests.faults.clients import Asked, Form
from tests.faults.conftest import HURRIED, Scale
from tests.faults.reading import read
from tests.faults.trial import Trial, trial
from tests.faults.upstreams import Books, Sold, Watch, Way, at_once, books_of, selling, sold, watching
from tests.harness.cluster import Cluster
from tests.harness.figures import Figures, quantile

PROOF = "35 upstreams"
FAULTS: dict[str, dict[str, Any]] = {
    "dead": {},
    "slow": {"script": "first_ms=800"},
    "flapping": {"down_s": 0.5, "up_s": 0.5},
    "throttled": {"per_minute": 240, "burst": 2},
    "wrong_key": {},
    "no_credit": {},
    "region down": {"fault": "down"},
    "silent": {},
}
ENVIRONMENT = HURRIED | {
    "LEASE_S": "10",
    "REQUEST_DEADLINE_S": "20",
    "IDLE_TIMEOUT_S": "3",
    "UPSTREAM_FAILED_IN_ROW": "5",
    "UPSTREAM_CALLS_MIN": "10",
    "UPSTREAM_OPEN_S": "0.5",
    "UPSTREAM_OPEN_MAX_S": "2",
    "UPSTREAM_PROBE_S": "1",
    "WORKER_SLOTS": "60",
}
"""As the service comes, except that an upstream is tried again soon; in other clusters of tests the breaker never opens."""
QUICK = Script(tokens=4, first_ms=5, pace_ms=0)
FIGURES = "asked, lost / extra s p50, max / calls while open, at once / s to recover"
RANDOM_CALLERS = 24
PAUSE_S = 0.25
BEFORE = 5
RECOVERS_WITHIN_S = 60.0
TOLD = frozenset({"provider_busy", "provider_error", "provider_timeout", "overloaded"})
"""What a caller may be told while the only key of a model fails."""
ALERTS = ("vendor refuses the operator's credentials", "the operator's credit is used up")
OPENING = frozenset({"dead", "wrong_key", "no_credit", "region down", "silent"})
"""Faults for which an upstream is left alone."""
MODELS = {
    (fault, keys): sold(f"{fault.replace(' ', '-').replace('_', '-')}-{keys}", number * 10 + keys, keys)
    for number, fault in enumerate(FAULTS)
    for keys in (1, 3)
}
SHARED = sold("shared", 900, 3)
RANDOM = sold("random", 910, 3)


class Measured(NamedTuple):
    """One fault at one model; times are Unix seconds."""

    asked: list[Asked]
    began: float
    healed: float

    def of(self, *, faulty: bool) -> list[Asked]:
        """Who asked while it lasted, or before."""
        return [
            one
            for one in self.asked
            if (self.began <= one.sent_at < self.healed if faulty else one.sent_at < self.began)
        ]

    @property
    def lost(self) -> list[Asked]:
        """Who got no whole answer."""
        return [one for one in self.asked if not read(one).finished]


class Cell:
    """One fault at the first key of one model, with traffic of its own."""

    def __init__(self, run: Trial, watch: Watch, fault: str, model: Sold, scale: Scale) -> None:
        self._run = run
        self._watch = watch
        self._fault = {"fault": fault, **FAULTS[fault]}
        self._forms: tuple[Form, ...] = ("sse", "json") if fault != "silent" or len(model.ways) > 1 else ("sse",)
        """A single silent key is known by its streams only: whole answers wait for it until their deadline."""
        self._scale = scale
        self._lot = random.Random(f"{model.name} {run.random.random()}")
        self._asked: list[Asked] = []
        self._stop = asyncio.Event()
        self.model = model
        self.fault = fault
        self.name = f"{fault}, {len(model.ways)} key{'s' * (len(model.ways) > 1)}"

    @property
    def faulty(self) -> Way:
        return self.model.ways[0]

    async def warm_up(self) -> None:
        """What comes before the fault: connections are made, and what an answer takes is seen."""
        for _ in range(BEFORE):
            await asyncio.gather(*(self._ask_after_a_pause() for _ in range(self._scale.upstream_callers)))
        del self._asked[: -(BEFORE - 1) * self._scale.upstream_callers]

    async def measure(self) -> Measured:
        began = time.time()
        await self._befall(self._fault)
        async with asyncio.TaskGroup() as group:
            for _ in range(self._scale.upstream_callers):
                group.create_task(self._keep_asking())
            await asyncio.sleep(self._scale.upstream_fault_s)
            await self._befall({})
            healed = time.time()
            await self._is_used_again()
            self._stop.set()
        return Measured(self._asked, began, healed)

    async def _befall(self, fault: dict[str, Any]) -> None:
        """A region that is down is so for whatever key."""
        where = {"region": self.faulty.account} if self._fault["fault"] == "down" else {"key": self.faulty.key}
        await self._run.cluster.simulator.befall(vendor="openai", **where, **fault)

    async def _keep_asking(self) -> None:
        while not self._stop.is_set():
            await self._ask_after_a_pause()

    async def _ask_after_a_pause(self) -> None:
        await asyncio.sleep(PAUSE_S * self._lot.uniform(0.5, 1.5))
        await self._ask()

    async def _ask(self) -> None:
        asked = self._run.prepare(self._lot.choice(self._forms), QUICK, model=self.model.name)
        self._asked.append(asked)
        await self._run.send(asked)

    async def _is_used_again(self) -> None:
        account = self.faulty.account
        before = (await self._run.cluster.simulator.answered()).get(account, 0)
        await self._watch.until_answered(account, before, RECOVERS_WITHIN_S)


@pytest.fixture(scope="module")
async def cluster(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Cluster]:
    """Of its own: the others' models have one key."""
    folder = tmp_path_factory.mktemp("upstreams")
    async with selling(folder, ENVIRONMENT, [*MODELS.values(), SHARED, RANDOM]) as running:
        yield running


async def test_what_fails_at_one_key_is_answered_by_another_and_booked_where_it_was_called(
    cluster: Cluster, scale: Scale, seed: str, figures: Figures
) -> None:
    """All faults at once, each at a model of its own."""
    names = [model.ways[0].name for model in MODELS.values()]
    async with trial(cluster, "upstreams", seed, scale.limit_s) as run, watching(cluster, names) as watch:
        cells = [Cell(run, watch, fault, model, scale) for (fault, _), model in MODELS.items()]
        await asyncio.gather(*(cell.warm_up() for cell in cells))
        measured = await asyncio.gather(*(cell.measure() for cell in cells))
        verdict = await run.check(Promise(errors=TOLD, calls_max=99, alerts=ALERTS))
        calls = await cluster.simulator.calls()
        books = await books_of(cluster, run.account_id, [way for model in MODELS.values() for way in model.ways])
    assert not verdict.violations, verdict.violations
    for cell, result in zip(cells, measured, strict=True):
        of_key = [call for call in calls if call.account == cell.faulty.account]
        while_open = _while_open(of_key, watch, cell.faulty.name, result)
        figures.add(PROOF, f"{cell.name}: {FIGURES}", _line(result, of_key, while_open))
        lost = [(one.status, read(one).error) for one in result.lost]
        assert len(cell.model.ways) == 1 or not lost, (cell.name, lost)
        assert at_once(while_open) <= 1, cell.name
        opened = watch.ever_opened(cell.faulty.name)
        assert opened or not scale.long or cell.fault not in OPENING, cell.name
    _assert_booked("each fault", books, figures)


async def test_whatever_befalls_at_random_every_charge_is_right_and_what_vendors_bill_is_booked(
    cluster: Cluster, scale: Scale, seed: str, figures: Figures
) -> None:
    """Each of three keys has a mixture of its own, all together more than a request meets in a bad week."""
    befalls = _mixture([way.key for way in RANDOM.ways])
    async with trial(cluster, "random", seed, scale.limit_s) as run:
        for condition in befalls:
            await cluster.simulator.befall(vendor="openai", **condition)
        began = time.monotonic()
        await _ask_many(run, RANDOM, scale.upstream_requests)
        took_s = time.monotonic() - began
        for condition in befalls:
            await cluster.simulator.befall(vendor="openai", **_whose(condition))
        verdict = await run.check(Promise(errors=TOLD, calls_max=99, alerts=ALERTS, may_lose_connection=True))
        books = await books_of(cluster, run.account_id, RANDOM.ways)
        calls = [
            call for call in await cluster.simulator.calls() if call.account in {way.account for way in RANDOM.ways}
        ]
    assert not verdict.violations, verdict.violations
    _assert_booked("at random", books, figures)
    figures.add(
        PROOF,
        "at random: requests, whole / calls / requests per s",
        f"{len(verdict.cases):,}, {len(verdict.finished):,} / {len(calls):,} / {len(verdict.cases) / took_s:.0f}",
    )
    figures.add(PROOF, "at random: calls by ending", dict(Counter(call.ending for call in calls)))
    figures.add(PROOF, "at random: callers were told", verdict.told)


def _mixture(keys: Sequence[str]) -> list[dict[str, Any]]:
    """A key alone, and a key in its region, are two that may have a fault."""
    one, two, three = keys
    return [
        {"key": one, "fault": "dead", "share": 0.04, "seed": 1},
        {"key": one, "region": one[-4:], "fault": "slow", "script": "first_ms=500", "share": 0.05, "seed": 2},
        {"key": two, "fault": "down", "share": 0.05, "seed": 3},
        {"key": two, "region": two[-4:], "fault": "unfinished", "share": 0.02, "seed": 4},
        {"key": three, "fault": "", "script": "fault=cut after=2", "share": 0.02, "seed": 5},
        {"key": three, "region": three[-4:], "fault": "throttled", "per_minute": 12_000, "burst": 20},
        {"region": three[-4:], "fault": "silent", "share": 0.002, "seed": 6},
    ]


def _whose(condition: dict[str, Any]) -> dict[str, str]:
    return {name: condition[name] for name in ("key", "region") if name in condition}


async def _ask_many(run: Trial, model: Sold, count: int) -> None:
    """Streams and whole answers by turns."""
    numbers = iter(range(count))

    async def ask() -> None:
        for number in numbers:
            form: Form = ("sse", "json", "raw")[number % 3]
            await run.send(run.prepare(form, Script(tokens=3 + number % 9, first_ms=2, pace_ms=0), model=model.name))

    async with asyncio.TaskGroup() as group:
        for _ in range(RANDOM_CALLERS):
            group.create_task(ask())


def _assert_booked(name: str, books: dict[str, Books], figures: Figures) -> None:
    """Every call that the vendor bills is booked once, to the nano-USD where it has told of its tokens. An answer that came
    when it was given up, as it does on a busy machine, is one of which it told nothing.
    """
    for upstream, one in books.items():
        assert one.known + one.estimated == one.answered + one.broken, (upstream, one)
        assert one.booked == one.billed or (one.known < one.answered and one.booked < one.billed), (upstream, one)
    known, booked, answered, billed, by_guess, estimated, broken_calls, broken = map(
        sum, zip(*books.values(), strict=True)
    )
    by_estimate = f"{nano_to_usd(estimated)}, {nano_to_usd(broken)}"
    figures.add(PROOF, f"{name}: answered calls booked, billed", f"{known:,}, {answered:,}")
    figures.add(PROOF, f"{name}: USD booked, billed for them", f"{nano_to_usd(booked)}, {nano_to_usd(billed)}")
    figures.add(PROOF, f"{name}: broken calls booked, billed", f"{by_guess:,}, {broken_calls:,}")
    figures.add(PROOF, f"{name}: USD booked by estimate, billed for them", by_estimate)


def _line(result: Measured, of_key: list[Call], while_open: list[Call]) -> str:
    faulty = result.of(faulty=True)
    lost = [one for one in faulty if one in result.lost]
    extra = [_extra_s(result, share) for share in (0.5, 1.0)]
    again = [call.started_at for call in of_key if call.started_at >= result.healed and call.ending == "completed"]
    recovered = f"{min(again) - result.healed:.2f}" if again else "in time"
    tried = f"{len(while_open)}, {at_once(while_open)}"
    return f"{len(faulty)}, {len(lost)} / {extra[0]:+.2f}, {extra[1]:+.2f} / {tried} / {recovered}"


def _extra_s(result: Measured, share: float) -> float:
    """Until the first byte of an answer, beyond what it took before."""
    before, meanwhile = (
        [(one.first_byte_at or one.ended_at) - one.sent_at for one in result.of(faulty=faulty) if read(one).finished]
        for faulty in (False, True)
    )
    return quantile(meanwhile, share) - quantile(before, share) if meanwhile and before else 0.0


def _while_open(calls: list[Call], watch: Watch, name: str, result: Measured) -> list[Call]:
    """Those that came to the key while every worker knew that it takes none: probes."""
    return [call for call in calls if call.started_at < result.healed and watch.was_open(name, call.started_at)]
