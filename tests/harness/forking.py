"""Starts processes of ours without their imports: each is forked from a nursery, a process that has imported their modules.

A worker imports for more than a second of a processor, and the tests start hundreds of them. What is forked calls the same
`main` with its own environment, log and session, and is stopped and killed as any process. `make proofs` and the tests of
`make run` start processes as users do.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import fcntl
import gc
import importlib
import os
import select
import signal as signals
import socket
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from signal import SIG_DFL, SIGCHLD, SIGKILL, Signals

import msgspec

from deploy.local.child import Child, Program, _ends_with, log_tail
from shared.vendors import VENDORS
from workers.providers.credentials import has_credentials
from workers.providers.loading import FILES

ANEW = bool(os.environ.get("PROOFS")) or sys.platform != "linux"
"""Whether every process is started as users start it."""
MESSAGE_BYTES = 200_000
FDS_MAX = 10
OUT_OF_THE_WAY = 100
"""File descriptors from here on are nobody's in a new process."""


class Wanted(msgspec.Struct, frozen=True):
    """A process to fork. Its file descriptors come with the message: its log, where its end is told, and those to pass on."""

    arguments: list[str]
    environment: dict[str, str]
    fds: list[int]
    """The numbers of those to pass on."""


def started(program: Program) -> Child:
    """Start `python -m MODULE …`: forked, unless it is to be started anew or changes what Python imports."""
    if ANEW or "PYTHONPATH" in program.environment:
        return Child(program)
    return Forked(program, nursery_of(program.command[2], program.environment, program.log.parent))


def nursery_of(module: str, environment: Mapping[str, str], logs: Path) -> Nursery:
    """The nursery for processes of this module with that environment."""
    modules = (f"{module}.__main__", *_imported_later(module, environment))
    if modules not in NURSERIES:
        logs.mkdir(exist_ok=True)
        NURSERIES[modules] = Nursery(modules, logs / "nursery.log")
    return NURSERIES[modules]


async def prepared(module: str, environment: Mapping[str, str], logs: Path) -> None:
    """Wait until processes of the module can be forked at once. Without this the first fork would block the event loop
    for seconds, and with it the proxies in front of the stores.
    """
    if not ANEW:
        await asyncio.to_thread(nursery_of(module, environment, logs).wait)


def _imported_later(module: str, environment: Mapping[str, str]) -> tuple[str, ...]:
    """What a worker imports because of the vendors that it has credentials for."""
    vendors = VENDORS if module == "workers" else ()
    apis = [api for vendor in vendors if has_credentials(vendor, environment) for api in VENDORS[vendor].apis]
    return tuple(dict.fromkeys(f"workers.providers.{FILES[api]}" for api in apis))


class Forked(Child):
    """A child of a nursery, which tells its exit code."""

    def __init__(self, program: Program, nursery: Nursery) -> None:
        self.program = program
        self._code: int | None = None
        self._ended, telling = os.pipe()
        os.set_blocking(self._ended, False)
        program.log.parent.mkdir(exist_ok=True)
        try:
            with program.log.open("ab") as log:
                self.pid = nursery.fork(program, log.fileno(), telling)
        finally:
            os.close(telling)

    @property
    def exit_code(self) -> int | None:
        if self._code is None:
            with contextlib.suppress(BlockingIOError):
                self._code = int(os.read(self._ended, 100))
                os.close(self._ended)
        return self._code

    def signal(self, number: Signals) -> None:
        if self.exit_code is None:
            os.kill(self.pid, number)


class Nursery:
    """This side of a nursery. It ends with this process, and its children with it."""

    def __init__(self, modules: tuple[str, ...], log: Path) -> None:
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            fd = theirs.fileno()
            command = (sys.executable, "-m", "tests.harness.forking", str(fd), *modules)
            program = Program(
                name="nursery", command=command, environment={"PATH": os.defpath}, log=log, pass_fds=(fd,)
            )
            self._child = Child(program)
        atexit.register(self._child.signal, SIGKILL)
        self._has_imported = False

    def wait(self) -> None:
        """Wait until everything is imported."""
        if not self._has_imported:
            assert self._socket.recv(100), f"the nursery has died\n{log_tail(self._child.program.log, 20)}"
            self._has_imported = True

    def fork(self, program: Program, log: int, telling: int) -> int:
        """Start a process; gives its id."""
        self.wait()
        wanted = Wanted(list(program.command[3:]), dict(program.environment), list(program.pass_fds))
        socket.send_fds(self._socket, [msgspec.msgpack.encode(wanted)], [log, telling, *program.pass_fds])
        pid = self._socket.recv(100)
        assert pid, f"the nursery has died\n{log_tail(self._child.program.log, 20)}"
        return int(pid)


NURSERIES: dict[tuple[str, ...], Nursery] = {}
"""By the modules that they have imported."""


# what follows runs in the nursery


def main(fd: int, modules: list[str]) -> int:
    """Fork whatever is wanted until nobody is there who wants anything. In a forked process, that process's `main`."""
    program, *_ = [importlib.import_module(module) for module in modules]
    gc.collect()
    gc.freeze()  # so that collecting garbage copies no page in the forked processes
    telling: dict[int, int] = {}
    with socket.socket(fileno=fd) as wishes, _ends_heard() as ends:
        wishes.send(b"ready")
        while True:
            ready, _, _ = select.select([wishes, ends], [], [])
            if ends in ready:
                ends.recv(MESSAGE_BYTES)
                _tell(telling)
                continue
            message, fds, _, _ = socket.recv_fds(wishes, MESSAGE_BYTES, FDS_MAX)
            if not message:
                return 0
            wanted = msgspec.msgpack.decode(message, type=Wanted)
            end_with_nursery = _ends_with(os.getpid(), SIGKILL)
            assert end_with_nursery
            pid = os.fork()
            if not pid:
                end_with_nursery()
                break
            telling[pid] = fds[1]
            for one in (fds[0], *fds[2:]):
                os.close(one)
            wishes.send(str(pid).encode())
        for other in telling.values():
            os.close(other)
    _grow_up(wanted, fds)
    sys.argv[:] = [str(program.__file__), *wanted.arguments]
    return int(program.main())


@contextlib.contextmanager
def _ends_heard() -> Iterator[socket.socket]:
    """Something can be read there when a child has ended."""
    hears, says = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    signals.signal(SIGCHLD, lambda *_: None)
    signals.set_wakeup_fd(says.fileno())
    with hears, says:
        try:
            yield hears
        finally:
            signals.set_wakeup_fd(-1)
            signals.signal(SIGCHLD, SIG_DFL)


def _tell(telling: dict[int, int]) -> None:
    """Tell the exit codes of all children that have ended, negative if a signal ended them."""
    with contextlib.suppress(ChildProcessError):
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if not pid:
                return
            fd = telling.pop(pid)
            with contextlib.suppress(BrokenPipeError):
                os.write(fd, str(os.waitstatus_to_exitcode(status)).encode())
            os.close(fd)


def _grow_up(wanted: Wanted, fds: list[int]) -> None:
    """Take on the session, the environment and the file descriptors of the wanted process."""
    os.setsid()
    os.environ.clear()
    os.environ.update(wanted.environment)
    log, telling, *passed = [fcntl.fcntl(fd, fcntl.F_DUPFD, OUT_OF_THE_WAY) for fd in fds]
    with Path(os.devnull).open("rb") as nothing:
        os.dup2(nothing.fileno(), 0)
    for own, number in ((log, 1), (log, 2), *zip(passed, wanted.fds, strict=True)):
        os.dup2(own, number)
    for fd in {*fds, log, telling, *passed} - {0, 1, 2, *wanted.fds}:
        os.close(fd)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), sys.argv[2:]))
