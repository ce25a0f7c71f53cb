"""Lines per second of a batch against the answers per second of interactive callers, on the same system."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable

import aiohttp
import msgspec

from tests.bench import ours
from tests.bench.mock import TEXT
from tests.bench.surfaces import SURFACES, WrongAnswerError
from tests.bench.targets import Bench, Target
from tests.bench.workloads import WORKLOADS, run

LINES = 10_000
LOOK_S = 0.05
WITHIN_S = 300.0


async def batch_against_interactive(bench: Bench, say: Callable[[str], None]) -> None:
    """In turn, three times."""
    async with ours.running(bench) as system:
        (key,) = await system.new_keys()
        target = system.target(SURFACES["native"], key)
        ratios = []
        for _ in range(3):
            interactive = (await run(WORKLOADS["B"], [target], bench.mock_pid)).per_s
            lines_per_s, cpu_ms = await _batch(target)
            ratios.append(lines_per_s / interactive)
            costs = ", ".join(f"{name} {ms:.2f}" for name, ms in cpu_ms.items())
            say(f"interactive {interactive:,.0f}/s, batch of {LINES:,} lines {lines_per_s:,.0f}/s, CPU ms each {costs}")
        say(f"batch against interactive: {sorted(ratios)[1]:.2f} (median)")


async def _batch(target: Target) -> tuple[float, dict[str, float]]:
    """Lines per second from the upload's answer to the end, and CPU ms per line, the upload included."""
    url, before = f"http://127.0.0.1:{target.port}/api/batches", target.cpu_seconds()
    async with aiohttp.ClientSession(headers=target.headers) as session, asyncio.timeout(WITHIN_S):
        async with session.post(url, data=_lines(), headers={"Content-Type": "application/x-ndjson"}) as response:
            batch = (await response.json())["result"]
        began = time.perf_counter()
        while batch["state"] != "completed":
            await asyncio.sleep(LOOK_S)
            async with session.get(f"{url}/{batch['id']}") as response:
                batch = (await response.json())["result"]
        took_s = time.perf_counter() - began
        cpu_ms = {name: (after - before[name]) * 1000 / LINES for name, after in target.cpu_seconds().items()}
        async with session.get(f"{url}/{batch['id']}/results") as response:
            _check(await response.read())
    return LINES / took_s, cpu_ms


async def _lines() -> AsyncIterator[bytes]:
    for number in range(LINES):
        messages = [{"role": "user", "content": "pace=0 Count to one hundred, please."}]
        line = {"custom_id": str(number), "model": ours.MODEL, "messages": messages, "options": {"max_tokens": 200}}
        yield msgspec.json.encode(line) + b"\n"


def _check(results: bytes) -> None:
    lines = [msgspec.json.decode(line) for line in results.splitlines()]
    if [line["custom_id"] for line in lines] != [str(number) for number in range(LINES)]:
        raise WrongAnswerError("the lines are not all there, in order")
    if any(line["result"]["response"] != TEXT for line in lines):
        raise WrongAnswerError("a line has not the mock's whole answer")
