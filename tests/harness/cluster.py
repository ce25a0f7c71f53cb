"""A whole system of real processes, each of which can be killed, stopped, drained and started again by its name.

clients ──► web-N ──► worker-N ──► simulator        Between our processes and Valkey, Postgres and the simulator
              └─────────┴──► Valkey, Postgres       stand proxies, unless the cluster is a direct one.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import sys
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from signal import SIGCONT, SIGHUP, SIGKILL, SIGSTOP
from urllib.parse import unquote

import aiohttp

from deploy.local import postgres, valkey
from deploy.local.child import Child, Program, log_tail
from deploy.local.data_dir import make_private, socket_folder
from deploy.local.listener import listening
from shared.stores.migrations import migrate
from tests.harness.forking import prepared, started
from tests.harness.proxy import Address, Proxy
from tests.harness.servers import UNSYNCED, Postgres, Simulator, Valkey
from tests.harness.support import eventually, free_port, pause

READY_S = 60.0
STARTED = b'"event":"worker started"'
MODULES = {"web": "api", "worker": "workers"}
FORGIVING = {
    "REFUSALS_PER_S": "10000",
    "UPSTREAM_FAILED_IN_ROW": "1000000",
    "UPSTREAM_CALLS_MIN": "1000000",
    "UPSTREAM_OPEN_S": "0.05",
    "UPSTREAM_OPEN_MAX_S": "0.05",
    "UPSTREAM_RAMP_MAX": "1",
}
"""Tests ask for refusals and for vendors' failures, one after the other: those that are not about that want them at once."""


class Cluster:
    """Made by `running_cluster`. Names: `web-1`, `worker-1` and so on; the part before the dash says what it is."""

    def __init__(self, folder: Path, sockets: ExitStack, environment: Mapping[str, str], *, direct: bool) -> None:
        self.folder = folder
        self.sockets = sockets
        self.environment = FORGIVING | dict(environment)
        postgres_sockets = sockets.enter_context(socket_folder(folder / "postgres"))
        self.postgres = Postgres(postgres.Postgres(folder, postgres_sockets, UNSYNCED))
        self.valkey = Valkey(valkey.Valkey(folder, sockets.enter_context(socket_folder(folder / "valkey"))))
        self.simulator = Simulator(folder)
        self.shared_listener: socket.socket = sockets.enter_context(listening("127.0.0.1", free_port()))
        self.direct = direct
        self.proxies: dict[str, Proxy] = {}
        self._children: dict[str, Child] = {}
        self._ports: dict[str, int] = {}
        self._log_starts: dict[str, int] = {}

    @property
    def lease_s(self) -> float:
        return float(self.environment["LEASE_S"])

    @property
    def patience_s(self) -> float:
        """After this a caller may say that the service hangs."""
        return float(self.environment["REQUEST_DEADLINE_S"]) + 15

    @property
    def workers(self) -> list[str]:
        return sorted(name for name in self._children if name.startswith("worker"))

    @property
    def doors(self) -> list[str]:
        return sorted(name for name in self._children if name.startswith("web"))

    @property
    def urls(self) -> list[str]:
        """Where the front doors listen that have a port of their own."""
        return [self.url(name) for name in self.doors if name in self._ports]

    @property
    def shared_url(self) -> str:
        """Where front doors listen that were started with `shared`."""
        return f"http://127.0.0.1:{self.shared_listener.getsockname()[1]}"

    def url(self, name: str) -> str:
        return f"http://127.0.0.1:{self._ports[name]}"

    def pid(self, name: str) -> int:
        return self._children[name].pid

    def start(self, name: str, *, shared: bool = False, **overrides: str) -> None:
        """Start a front door or a worker; one that was there before gets its port back."""
        assert name not in self._children, f"{name} runs already"
        kind = name.partition("-")[0]
        environment = self._environment(kind) | overrides
        fds: tuple[int, ...] = ()
        if shared:
            fds = (self.shared_listener.fileno(),)
            environment["LISTEN_FD"] = str(fds[0])
        elif kind == "web":
            environment["PORT"] = str(self._ports.setdefault(name, free_port()))
        command = (sys.executable, "-m", MODULES[kind])
        log = self.folder / "logs" / f"{name}.log"
        self._log_starts[name] = log.stat().st_size if log.exists() else 0
        self._children[name] = started(
            Program(name=name, command=command, environment=environment, log=log, pass_fds=fds)
        )

    async def kill(self, name: str) -> None:
        """Kill -9; its name is free again."""
        child = self._children.pop(name)
        child.signal(SIGKILL)
        await child.ended()

    async def drain(self, name: str, within_s: float = 60) -> float:
        """SIGTERM, and wait for its end; fails unless it ends by itself with 0. Gives the seconds it took."""
        child, began = self._children.pop(name), time.monotonic()
        tidily = await child.stop(within_s)
        assert tidily, f"{name} did not end within {within_s:g} s of SIGTERM{self._log_of(child)}"
        assert child.exit_code == 0, f"{name} ended with {child.exit_code}{self._log_of(child)}"
        return time.monotonic() - began

    def rename(self, name: str, new: str) -> None:
        """Give a process the name of one that has ended; its log keeps the old one."""
        assert new not in self._children
        self._children[new] = self._children.pop(name)
        self._log_starts[new] = self._log_starts.pop(name)

    async def until_log(self, name: str, event: str) -> None:
        """Wait until a process has logged an event since it was started."""
        child = self._children[name]
        line = f'"event":"{event}"'.encode()
        before = self._log_starts[name]
        await eventually(lambda: line in child.program.log.read_bytes()[before:], f"{name} logs {event}", READY_S)

    def worker_id(self, name: str) -> str:
        """By which it is known in Redis, as it logged when it was started."""
        started = [line for line in self._children[name].program.log.read_bytes().splitlines() if STARTED in line]
        return str(json.loads(started[-1])["worker"])

    def pause(self, name: str) -> None:
        self._children[name].signal(SIGSTOP)

    def resume(self, name: str) -> None:
        self._children[name].signal(SIGCONT)

    def hang_up(self, name: str) -> None:
        """SIGHUP: its secrets have changed."""
        self._children[name].signal(SIGHUP)

    async def ready(self) -> None:
        """Wait until every front door would serve, and as many workers say hello as there are."""
        began = time.monotonic()
        while not await self._is_ready():
            self.check_nobody_died()
            assert time.monotonic() < began + READY_S, "the cluster is not ready"
            await pause(began)

    def check_nobody_died(self) -> None:
        """Fails when a process has ended that nobody ended."""
        for name, child in self._children.items():
            assert child.exit_code is None, f"{name} ended by itself with {child.exit_code}{self._log_of(child)}"
        assert not self.postgres.died
        assert not self.valkey.died

    async def restore(self) -> None:
        """Mend what an earlier proof may have left broken, so that its failure is not the next one's."""
        for server in (self.postgres, self.valkey):
            if server.died:
                await server.start()
        for proxy in self.proxies.values():
            await proxy.heal()
        for name, child in list(self._children.items()):
            child.signal(SIGCONT)
            if child.exit_code is not None:
                del self._children[name]
                self.start(name)
        await self.ready()

    def logs(self) -> list[Path]:
        """The logs of front doors and workers."""
        return [path for path in (self.folder / "logs").glob("*-*.log") if path.stem.partition("-")[0] in MODULES]

    async def open(self, doors: int, workers: int) -> None:
        await asyncio.gather(self._start_postgres(), self.valkey.start(), self.simulator.start())
        await self._open_proxies()
        kinds = ["web"] * bool(doors) + ["worker"] * bool(workers)
        logs = self.folder / "logs"
        await asyncio.gather(*(prepared(MODULES[kind], self._environment(kind), logs) for kind in kinds))
        for number in range(doors):
            self.start(f"web-{number + 1}")
        for number in range(workers):
            self.start(f"worker-{number + 1}")
        await self.ready()

    async def close(self) -> None:
        """End everything, also what is stopped."""
        for child in self._children.values():
            child.signal(SIGKILL)
        for child in self._children.values():
            await child.ended()
        for proxy in self.proxies.values():
            await proxy.close()
        await asyncio.gather(self.simulator.stop(), self.valkey.stop(), self.postgres.stop())

    async def _start_postgres(self) -> None:
        await self.postgres.start()
        await migrate(self.postgres.url)

    async def _open_proxies(self) -> None:
        targets: dict[str, Address] = {
            "postgres": Path(unquote(self.postgres.url.partition("host=")[2].partition("&")[0])) / ".s.PGSQL.5432",
            "redis": self.valkey.socket,
            "vendor": ("127.0.0.1", self.simulator.port),
        }
        for name, target in targets.items():
            self.proxies[name] = Proxy(target)
            await self.proxies[name].open()

    def _environment(self, kind: str) -> dict[str, str]:
        ports = {name: proxy.port for name, proxy in self.proxies.items()}
        environment = self.environment | {
            "PATH": os.defpath,
            "DATABASE_URL": f"postgresql://postgres@127.0.0.1:{ports['postgres']}/rebootml",
            "REDIS_URL": f"redis://127.0.0.1:{ports['redis']}/0",
        }
        if self.direct:
            environment |= {"DATABASE_URL": self.postgres.url, "REDIS_URL": self.valkey.url}
        if kind == "worker":
            vendor = self.simulator.port if self.direct else ports["vendor"]
            environment |= {"OPENAI_API_KEY": "simulated", "OPENAI_BASE_URL": f"http://127.0.0.1:{vendor}/v1"}
        return environment

    async def _is_ready(self) -> bool:
        async with aiohttp.ClientSession() as session:
            for url in self.urls:
                try:
                    async with session.get(f"{url}/readyz") as response:
                        if response.status != 200:
                            return False
                        if self.workers and not (await response.json())["worker"]:
                            return False
                except aiohttp.ClientError:
                    return False
        return int(str(await self.valkey.command("SCARD", "workers"))) >= len(self.workers)

    def _log_of(self, child: Child) -> str:
        return f"; its log is {child.program.log}\n{log_tail(child.program.log, 20)}"


@asynccontextmanager
async def running_cluster(
    folder: Path,
    environment: Mapping[str, str],
    *,
    doors: int = 2,
    workers: int = 2,
    direct: bool = False,
    vendor_port: int = 0,
) -> AsyncIterator[Cluster]:
    """A cluster for as long as the block lasts; `environment` goes to the front doors and the workers. The simulator has
    `vendor_port`, or any.
    """
    make_private(folder)
    with ExitStack() as sockets:
        cluster = Cluster(folder, sockets, environment, direct=direct)
        cluster.simulator.port = vendor_port
        try:
            await cluster.open(doors, workers)
            yield cluster
        finally:
            await cluster.close()
