"""What is measured: each target started on the core of the system under test, beside the others, in one run."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import os
import sys
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import msgspec

from deploy.local.child import Child, Program, log_tail
from deploy.local.listener import free_port
from tests.bench import cpu
from tests.bench.load import connected, http_request
from tests.bench.surfaces import SURFACES, Checker, Surface

READY_S = 90.0
STOP_S = 10.0
PROBE_S = 0.05
MODEL = "gpt-4o-mini"


class NotRunnableError(Exception):
    """A target that cannot be brought up here; the message says why."""


class Target(msgspec.Struct, kw_only=True):
    """Something that answers on `port`. `processes` are its own by their names, for CPU and memory; the mock has none."""

    name: str
    surface: Surface
    port: int
    model: str = MODEL
    headers: dict[str, str] = {}
    processes: dict[str, list[int]] = {}
    note: str = ""

    def request(self, prompt: str, *, stream: bool) -> bytes:
        """The bytes of a question."""
        body = self.surface.body(self.model, prompt, stream=stream)
        return http_request(self.surface.path, {"Authorization": "Bearer bench", **self.headers}, body)

    def cpu_seconds(self) -> dict[str, float]:
        """So far, by process."""
        return {name: cpu.seconds_of(pids) for name, pids in self.processes.items()}


class Bench:
    """What all targets share: the folder, the cores, the mock."""

    def __init__(self, folder: Path, cores: tuple[int, int] | None) -> None:
        self.folder = folder
        self.system_core: int | None = cores[0] if cores else None
        self.load_core: int | None = cores[1] if cores else None
        self.mock_port = free_port()
        self.mock_pid = 0

    def under(self, name: str) -> Bench:
        """The same with a folder of its own."""
        inner = copy.copy(self)
        inner.folder = self.folder / name
        inner.folder.mkdir(exist_ok=True)
        return inner

    @property
    def mock_url(self) -> str:
        """Without a path."""
        return f"http://127.0.0.1:{self.mock_port}"

    @contextlib.asynccontextmanager
    async def child(
        self,
        name: str,
        command: tuple[str, ...],
        environment: Mapping[str, str] | None = None,
        *,
        core: int | None = None,
        pass_fds: tuple[int, ...] = (),
    ) -> AsyncIterator[Child]:
        """A process for as long as the block lasts, on the core of the system under test unless another is given."""
        program = Program(
            name=name,
            command=command,
            environment={"PATH": os.environ.get("PATH", os.defpath), **(environment or {})},
            log=self.folder / "logs" / f"{name}.log",
            pass_fds=pass_fds,
        )
        with cpu.starting_on(self.system_core if core is None else core):
            child = Child(program)
        try:
            yield child
        finally:
            await child.stop(STOP_S)

    @contextlib.asynccontextmanager
    async def mock(self) -> AsyncIterator[Target]:
        """The vendor, and the first target: asked directly."""
        command = (sys.executable, "-m", "tests.bench.mock", "--port", str(self.mock_port))
        target = Target(name="direct to the mock", surface=SURFACES["openai"], port=self.mock_port)
        async with self.child("mock", command, core=self.load_core) as child:
            await until_answering(target, child)
            self.mock_pid = child.pid
            yield target

    @contextlib.asynccontextmanager
    async def proxy(self) -> AsyncIterator[Target]:
        """The aiohttp proxy."""
        port = free_port()
        command = (sys.executable, "-m", "tests.bench.proxy", "--port", str(port), "--upstream", self.mock_url)
        async with self.child("proxy", command) as child:
            target = Target(
                name="bare aiohttp proxy",
                surface=SURFACES["openai"],
                port=port,
                processes={"proxy": [child.pid]},
                note="no keys, no queue",
            )
            await until_answering(target, child)
            yield target


async def until_answering(target: Target, child: Child, within_s: float = READY_S) -> None:
    """Ask until the mock's answer comes back; raises `NotRunnableError` with what was said last."""
    said: object = "nothing"
    deadline = asyncio.get_running_loop().time() + within_s
    while asyncio.get_running_loop().time() < deadline:
        if child.exit_code is not None:
            raise NotRunnableError(f"{child.program.name} ended with {child.exit_code}\n{log_tail(child.program.log)}")
        try:
            await _ask_once(target)
        except (OSError, TimeoutError, AssertionError, Exception) as error:  # noqa: BLE001 - whatever keeps it from answering
            said = error
            await asyncio.sleep(PROBE_S)
        else:
            return
    raise NotRunnableError(f"{target.name} did not answer within {within_s:g} s: {said}")


async def _ask_once(target: Target) -> None:
    caller = await connected(target.port)
    try:
        answer = await caller.ask(target.request("pace=0", stream=False))
        Checker(target.surface, stream=False).check(answer.status, answer.body)
    finally:
        caller.close()
