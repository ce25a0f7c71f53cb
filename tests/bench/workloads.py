"""The four workloads, each for a bounded time against one target.

A  one caller alone, JSON: the time until the whole answer
B  64 callers, JSON: answers per second
C  32 callers, streams of 100 chunks as fast as they go: streams per second
D  100 callers, streams of 100 chunks paced by the vendor: time to the first token, and whether the end keeps the pace
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Sequence

import msgspec

from tests.bench import cpu
from tests.bench.load import Answer, Caller, connected
from tests.bench.mock import stream_seconds
from tests.bench.surfaces import Checker
from tests.bench.targets import Target

PACE_MS = 20
ON_PACE_S = 0.1
"""A stream that ends at most this much after the mock's own time has kept its pace."""
GONE_S = 90.0
SLOW_FACTOR = 4


class Workload(msgspec.Struct, frozen=True, kw_only=True):
    """`callers` ask again and again; `warm_s` are not counted, then `seconds` are. Paced streams begin spread over one
    stream's length, as they do in life, not all in one instant.
    """

    name: str
    callers: int
    stream: bool = False
    pace_ms: int = 0
    warm_s: float = 0.5
    seconds: float = 3.0
    prompt_bytes: int = 0


WORKLOADS = {
    workload.name: workload
    for workload in (
        Workload(name="A", callers=1, warm_s=0.3, seconds=1.5),
        Workload(name="B", callers=64),
        Workload(name="C", callers=32, stream=True),
        Workload(name="D", callers=100, stream=True, pace_ms=PACE_MS, warm_s=2.2, seconds=4.0),
    )
}


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """One workload on one target once. CPU is milliseconds per answer by process; `late` are streams that lost the pace."""

    answers: int
    per_s: float
    whole_ms_p50: float
    first_ms_p50: float
    first_ms_p99: float
    late: int
    latest_ms: float
    cpu_ms: dict[str, float]
    load_core_busy: float
    error: str = ""


FAILED = Outcome(
    answers=0,
    per_s=0,
    whole_ms_p50=0,
    first_ms_p50=0,
    first_ms_p99=0,
    late=0,
    latest_ms=0,
    cpu_ms={},
    load_core_busy=0,
)


async def run(workload: Workload, targets: Sequence[Target], mock_pid: int) -> Outcome:
    """Run it once; several targets are one system asked with several keys. Raises what the callers raise."""
    crew = _Crew(workload, targets)
    await crew.connect()
    try:
        async with asyncio.timeout(workload.warm_s + workload.seconds + GONE_S), asyncio.TaskGroup() as group:
            for number in range(workload.callers):
                group.create_task(crew.keep_asking(number))
            await asyncio.sleep(workload.warm_s)
            began, before = time.perf_counter(), _cpu_by_process(targets[0], mock_pid)
            await crew.measure()
            ended, after = time.perf_counter(), _cpu_by_process(targets[0], mock_pid)
            crew.enough = True
    finally:
        crew.close()
    return _outcome(workload, crew.answers, began, ended, {name: after[name] - before[name] for name in after})


class _Crew:
    """The callers of one run; each answer is checked when it comes."""

    def __init__(self, workload: Workload, targets: Sequence[Target]) -> None:
        self._workload = workload
        self._targets = targets
        self._callers: list[Caller] = []
        prompt = f"pace={workload.pace_ms} Count to one hundred, please. ".ljust(workload.prompt_bytes, "x")
        self._requests = itertools.cycle([target.request(prompt, stream=workload.stream) for target in targets])
        self._checker = Checker(targets[0].surface, stream=workload.stream)
        self.answers: list[tuple[float, float, float]] = []
        self.enough = False

    async def connect(self) -> None:
        self._callers = [await connected(self._targets[0].port) for _ in range(self._workload.callers)]

    def close(self) -> None:
        for caller in self._callers:
            caller.close()

    async def measure(self) -> None:
        """For the workload's time; longer where a slow target has not answered everybody once by then."""
        before, longest = len(self.answers), time.perf_counter() + self._workload.seconds * SLOW_FACTOR
        await asyncio.sleep(self._workload.seconds)
        while len(self.answers) - before < self._workload.callers and time.perf_counter() < longest:  # noqa: ASYNC110
            await asyncio.sleep(self._workload.seconds / 10)

    async def keep_asking(self, number: int) -> None:
        workload = self._workload
        if workload.pace_ms:
            await asyncio.sleep(stream_seconds(workload.pace_ms) * number / workload.callers)
        while not self.enough:
            answer: Answer = await self._callers[number].ask(next(self._requests))
            self._checker.check(answer.status, answer.body)
            self.answers.append((answer.asked_at, answer.first_at, answer.ended_at))


def _cpu_by_process(target: Target, mock_pid: int) -> dict[str, float]:
    ours = time.process_time()
    return {**target.cpu_seconds(), "mock": cpu.seconds_of([mock_pid]), "callers": ours}


def _outcome(
    workload: Workload, answers: list[tuple[float, float, float]], began: float, ended: float, taken: dict[str, float]
) -> Outcome:
    """Paced streams count by their beginning, others by their end."""
    when = 0 if workload.pace_ms else 2
    counted = [answer for answer in answers if began <= answer[when] < ended]
    completed = sum(began <= answer[2] < ended for answer in answers)
    first = sorted((first_at - asked_at) * 1000 for asked_at, first_at, _ in counted)
    whole = sorted((ended_at - asked_at) * 1000 for asked_at, _, ended_at in counted)
    own_s = stream_seconds(workload.pace_ms) if workload.pace_ms else 0.0
    lateness = [ms - own_s * 1000 for ms in whole] if own_s else []
    busy = (taken.pop("mock") + taken.pop("callers")) / (ended - began)
    return Outcome(
        answers=len(counted),
        per_s=completed / (ended - began),
        whole_ms_p50=quantile(whole, 0.5),
        first_ms_p50=quantile(first, 0.5),
        first_ms_p99=quantile(first, 0.99),
        late=sum(ms > ON_PACE_S * 1000 for ms in lateness),
        latest_ms=max(lateness, default=0.0),
        cpu_ms={name: seconds * 1000 / completed for name, seconds in taken.items()} if completed else {},
        load_core_busy=busy,
    )


def quantile(ordered: Sequence[float], share: float) -> float:
    """The value that `share` of all do not exceed; 0 of nothing."""
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0
