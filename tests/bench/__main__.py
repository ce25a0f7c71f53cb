"""`python -m tests.bench`: the table. `python -m tests.bench growth …`: how cost grows. `--help` says the rest."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import shutil
import sys
from pathlib import Path

import msgspec
import uvloop

from shared.runtime.process import raise_open_files
from tests.bench import cpu, growth, ours, peers, report
from tests.bench.crowd import Crowd, numbers
from tests.bench.report import Row
from tests.bench.surfaces import SURFACES, Surface, WrongAnswerError
from tests.bench.targets import Bench, NotRunnableError, Target
from tests.bench.turns import Turns
from tests.bench.workloads import FAILED, WORKLOADS, Outcome, run

RESULTS = Path(".bench/results.json")
BESIDE = ("responses", "responses-stored")
"""APIs of ours that have rows of their own."""
PAUSE_S = 0.3
"""Between two runs, so that what one leaves behind (settlements, closing connections) is not the next one's."""


def main() -> int:
    """Exit status 0 when this project was measured."""
    arguments = _parser().parse_args()
    raise_open_files()
    folder = peers.ROOT / "run"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    chosen = cpu.cores()
    if chosen is None:
        print("bench: no two cores to choose from: nothing is pinned, figures are rough", file=sys.stderr)
    else:
        os.sched_setaffinity(0, {chosen[1]})
    bench = Bench(folder, chosen)
    if arguments.command == "growth":
        against = arguments.against.absolute() if arguments.against else None
        turns = Turns(repeats=arguments.repeats, against=against)
        return uvloop.run(growth.run(bench, arguments.what, _crowd(arguments, against), turns))
    return uvloop.run(_table(bench, arguments))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--peers", default=os.environ.get("PEERS"), help="comma list of litellm, portkey; or none")
    parser.add_argument("--surface", choices=("auto", *SURFACES), default="auto", help="the API we are asked through")
    parser.add_argument("--only", default="ABCD", help="workloads, such as BC")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--no-yardsticks", action="store_true", help="neither the mock alone nor the bare proxy")
    parser.add_argument("--against", type=Path, help="another checkout of this project, measured beside this one")
    commands = parser.add_subparsers(dest="command")
    grow = commands.add_parser("growth", help="how cost grows")
    grow.add_argument("what", nargs="*", choices=(*growth.FIGURES, []), help="all unless named")
    grow.add_argument("--workers", type=numbers, default=Crowd().workers, help="of the figure callers, such as 1,2,4")
    grow.add_argument("--callers", type=numbers, default=Crowd().callers, help="of the figure callers")
    return parser


def _crowd(arguments: argparse.Namespace, against: Path | None) -> Crowd:
    return Crowd(callers=arguments.callers, workers=arguments.workers, repeats=arguments.repeats, against=against)


async def _table(bench: Bench, arguments: argparse.Namespace) -> int:
    about, rows = report.machine(), {}
    async with contextlib.AsyncExitStack() as stack:
        targets = [await stack.enter_async_context(bench.mock())]
        targets += [await stack.enter_async_context(bench.proxy())]
        if arguments.no_yardsticks:
            targets.clear()
        if arguments.against:
            targets += await _ours(bench, stack, arguments.surface, arguments.against.absolute())
        targets += await _ours(bench, stack, arguments.surface)
        missing = await _start_peers(bench, stack, targets, arguments.peers)
        rows = {target.name: Row(name=target.name, note=target.note) for target in targets}
        for _ in range(arguments.repeats):
            await _one_round(bench, targets, rows, arguments.only)
        for target in targets:
            memory = {name: cpu.memory_mb_of(pids[0]) for name, pids in target.processes.items()}
            rows[target.name].memory_mb = memory
    everything = [*rows.values(), *missing]
    print(report.table(everything, about))
    report.write(RESULTS, everything, about)
    return 0


async def _ours(bench: Bench, stack: contextlib.AsyncExitStack, wanted: str, tree: Path | None = None) -> list[Target]:
    """A row for each of our APIs that is asked, beginning with the peers' own."""
    name = f"{ours.NAME}, {tree.name}" if tree else ours.NAME
    system = await stack.enter_async_context(ours.running(bench.under("other" if tree else "ours"), tree=tree))
    (key,) = await system.new_keys()
    beside = [SURFACES[one] for one in BESIDE if wanted == "auto" and await system.speaks(SURFACES[one])]
    return [
        system.target(await _surface(system, wanted), key, name),
        *(system.target(surface, key, f"{name}, {surface.name}") for surface in beside),
    ]


async def _one_round(bench: Bench, targets: list[Target], rows: dict[str, Row], only: str) -> None:
    """Every workload on every target, one after the other, so that all meet the same weather."""
    for name in only:
        for target in targets:
            outcome = await _once(bench, target, name)
            rows[target.name].outcomes.setdefault(name, []).append(outcome)
            print(f"bench: {name} {target.name}: {_brief(outcome)}", file=sys.stderr)
            await asyncio.sleep(PAUSE_S)


async def _once(bench: Bench, target: Target, name: str) -> Outcome:
    try:
        return await run(WORKLOADS[name], [target], bench.mock_pid)
    except* (WrongAnswerError, OSError, TimeoutError) as group:
        error = group.exceptions[0]
    return msgspec.structs.replace(FAILED, error=f"{type(error).__name__}: {error}")


def _brief(outcome: Outcome) -> str:
    if outcome.error:
        return outcome.error
    costs = ", ".join(f"{name} {ms:.2f}" for name, ms in outcome.cpu_ms.items())
    return (
        f"{outcome.per_s:,.0f}/s, whole {outcome.whole_ms_p50:.2f} ms, first {outcome.first_ms_p50:.1f} /"
        f" {outcome.first_ms_p99:.1f} ms, late {outcome.late}, load core {outcome.load_core_busy:.0%}, CPU ms {costs}"
    )


async def _surface(system: ours.System, wanted: str) -> Surface:
    """The peers' own API where this release speaks it."""
    if wanted != "auto":
        return SURFACES[wanted]
    return SURFACES["openai" if await system.speaks(SURFACES["openai"]) else "native"]


async def _start_peers(
    bench: Bench, stack: contextlib.AsyncExitStack, targets: list[Target], wanted: str | None
) -> list[Row]:
    """Add those that can be brought up; gives a row for each that cannot, with the reason."""
    names = peers.PEERS if wanted is None else [name for name in wanted.split(",") if name and name != "none"]
    missing = []
    for name in names:
        try:
            if wanted is None and name not in peers.installed():
                raise NotRunnableError(f"not installed: make bench PEERS={name}")  # noqa: TRY301 - one place reports it
            await peers.install(name)
            targets.append(await stack.enter_async_context(peers.PEERS[name](bench)))
        except NotRunnableError as error:
            missing.append(Row(name=name, why_not=str(error)))
    return missing


if __name__ == "__main__":
    sys.exit(main())
