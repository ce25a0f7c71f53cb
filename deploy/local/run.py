"""One run from start to stop: stores, simulator, release, processes, demo account, welcome.

This is the composition root of `make run`: the parts do not know each other, and their order is here.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from socket import socket

from deploy.local import vendors
from deploy.local.child import Program, log_tail, run_to_end
from deploy.local.closing import close_to_others
from deploy.local.data_dir import run_lock, socket_folder, write_private
from deploy.local.demo import Demo
from deploy.local.errors import StartError
from deploy.local.listener import free_port, listening, url_of
from deploy.local.options import Options
from deploy.local.postgres import Postgres
from deploy.local.probe import http_get, http_status
from deploy.local.stopping import Stopping
from deploy.local.stores import Store
from deploy.local.supervisor import Service, Supervisor, Tier, until
from deploy.local.terminal import say, stage, welcome
from deploy.local.valkey import Valkey

READY_S = 90.0
RELEASE_S = 600.0
OK = 200
UNAUTHORIZED = 401
_TIERS = {"web": Tier.WEB}


async def run(options: Options) -> None:
    """Start everything, keep it running until a stop is asked for, stop everything; `StartError` says what failed."""
    stopping = Stopping()
    stopping.listen()
    with_stores = options.database_url is None or options.redis_url is None
    if closed := close_to_others(options.data_dir, os.geteuid(), with_stores=with_stores):
        say(closed)
    with contextlib.ExitStack() as held:
        held.enter_context(run_lock(options.data_dir))
        held.enter_context(
            _fresh(*(options.data_dir / name for name in ("run.json", "processes.json", "simulator.port")))
        )
        listener = held.enter_context(listening(options.host, options.port))
        async with Supervisor(options.data_dir / "logs", options.stop_s, stopping.hurry) as supervisor:
            supervisor.background(stopping.watch_make())
            with _fresh(options.data_dir / "run.json"):
                this = Run(options, supervisor, listener, held)
                await stopping.unless_asked(this.start())
                await stopping.asked.wait()
                say("\nStopping: front doors, workers, simulator, stores (Ctrl-C again hurries).")
    say("Stopped.")


@contextlib.contextmanager
def _fresh(*files: Path) -> Iterator[None]:
    """Remove files of an earlier run, and at the end those of this run, so that nobody reads them."""
    for file in files:
        file.unlink(missing_ok=True)
    try:
        yield
    finally:
        for file in files:
            file.unlink(missing_ok=True)


class Run:
    """The stages of one start, in order; later stages use what earlier ones found out."""

    def __init__(
        self, options: Options, supervisor: Supervisor, listener: socket, folders: contextlib.ExitStack
    ) -> None:
        self._options = options
        self._supervisor = supervisor
        self._listener = listener
        self._folders = folders
        self._logs = options.data_dir / "logs"
        self._url = url_of(listener)
        self._simulator_url: str | None = None
        self._applications: list[Service] = []
        self._metrics_ports: dict[str, int] = {}
        self._environment = vendors.without_vendors(options.environment) | {
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{options.environment.get('PATH', os.defpath)}",
            "DATA_DIR": str(options.data_dir),
            "HOST": options.host,
            "PORT": str(listener.getsockname()[1]),
        }

    async def start(self) -> None:
        """Start everything; returns when `/readyz` is 200 and `run.json` exists."""
        say(f"Starting in {self._options.data_dir} on {self._url}")
        await self._start_postgres()
        await self._start_valkey()
        await self._start_simulator()
        await self._release()
        self._start_processes()
        shown = await self._demo_account()  # the processes start meanwhile
        await self._wait_until_ready()
        self._publish(*shown)

    async def _start_postgres(self) -> None:
        if self._options.database_url is None:
            sockets = self._folders.enter_context(socket_folder(self._options.data_dir / "postgres"))
            await self._start_store(Postgres(self._options.data_dir, sockets), "DATABASE_URL")

    async def _start_valkey(self) -> None:
        if self._options.redis_url is None:
            sockets = self._folders.enter_context(socket_folder(self._options.data_dir / "valkey"))
            await self._start_store(Valkey(self._options.data_dir, sockets), "REDIS_URL")

    async def _start_store(self, store: Store, variable: str) -> None:
        service = Service(store.name, store.program.log, lambda: store.program, store.prepare)
        await until(store.is_ready, READY_S, self._supervisor.add(Tier.STORE, service))
        self._environment[variable] = store.url
        stage(store.name, "ready")

    async def _start_simulator(self) -> None:
        """Start the simulator for the vendors without a key; it keeps its port if it is restarted."""
        names = [vendor.title for vendor in vendors.simulated_vendors(self._options.environment)]
        if not names:
            return
        port_file = self._options.data_dir / "simulator.port"
        log = self._logs / "simulator.log"

        def program() -> Program:
            port = _port_in(port_file) or 0
            command = ("python", "-m", "deploy.simulator", "--port", str(port), "--port-file", str(port_file))
            return Program(name="simulator", command=command, environment=self._environment, log=log)

        async def ready() -> bool:
            port = _port_in(port_file)
            return port is not None and await http_status(f"http://127.0.0.1:{port}/healthz") == OK

        await until(ready, READY_S, self._supervisor.add(Tier.SIMULATOR, Service("simulator", log, program)))
        self._simulator_url = f"http://127.0.0.1:{_port_in(port_file)}"
        stage("simulator", f"ready, stands in for {', '.join(names)}")

    async def _release(self) -> None:
        command = self._options.commands.get("release")
        if command is None:
            return
        log = self._logs / "release.log"
        program = Program(name="release", command=command, environment=self._environment, log=log)
        try:
            code, _ = await run_to_end(program, RELEASE_S)
        except (OSError, TimeoutError) as error:
            raise StartError(f"release ({' '.join(command)}) failed: {error or 'it takes too long'}") from None
        if code:
            raise StartError(f"release ({' '.join(command)}) ended with {code}; its log is {log}\n{log_tail(log)}")
        stage("release", f"done ({' '.join(command)})")

    def _start_processes(self) -> None:
        for kind, count in self._options.processes.items():
            for number in range(1, count + 1):
                self._applications.append(self._add_process(kind, f"{kind}.{number}"))
        stage("processes", ", ".join(service.name for service in self._applications))

    def _add_process(self, kind: str, name: str) -> Service:
        environment = dict(self._environment)
        inherited: tuple[int, ...] = ()
        if kind == "worker":
            environment |= vendors.for_workers(self._options.environment, self._simulator_url)
        if kind == "web":
            inherited = (self._listener.fileno(),)
            environment["LISTEN_FD"] = str(self._listener.fileno())

        def program() -> Program:
            self._metrics_ports[name] = free_port()
            return Program(
                name=name,
                command=self._options.commands[kind],
                environment=environment | {"METRICS_PORT": str(self._metrics_ports[name])},
                log=self._logs / f"{name}.log",
                pass_fds=inherited,
            )

        service = Service(name, self._logs / f"{name}.log", program, started=self._publish_processes)
        return self._supervisor.add(_TIERS.get(kind, Tier.WORKER), service)

    def _publish_processes(self) -> None:
        rows = [
            {"name": service.name, "pid": service.child.pid, "metrics_port": self._metrics_ports[service.name]}
            for service in self._applications
            if service.child is not None
        ]
        write_private(self._options.data_dir / "processes.json", rows)

    async def _wait_until_ready(self) -> None:
        async def ready() -> bool:
            answer = await http_get(f"{self._url}/readyz")
            return answer is not None and answer[0] == OK and b'"worker":false' not in answer[1]

        await until(ready, READY_S, *self._applications)

    async def _demo_account(self) -> tuple[str | None, str | None, str | None]:
        """The account, a working key and a link to the console; None on an external database unless asked for."""
        if not self._options.demo:
            return None, None, None
        demo = Demo(self._options.data_dir, self._environment)
        account_id, api_key = await demo.account_and_key()
        await self._wait_until_ready()
        if await http_status(f"{self._url}/api/account", bearer=api_key) == UNAUTHORIZED:
            api_key = await demo.new_key(account_id)
        return account_id, api_key, f"{self._url}{await demo.console_path(api_key)}"

    def _publish(self, account_id: str | None, api_key: str | None, console_url: str | None) -> None:
        document = {
            "url": self._url,
            "api_key": api_key,
            "account_id": account_id,
            "console_url": console_url,
            "database_url": self._options.database_url or self._environment["DATABASE_URL"],
            "redis_url": self._options.redis_url or self._environment["REDIS_URL"],
            "simulator_url": self._simulator_url,
        }
        write_private(self._options.data_dir / "run.json", document)
        say(welcome(self._url, api_key, console_url, self._options.data_dir, self._options.environment))


def _port_in(file: Path) -> int | None:
    with contextlib.suppress(OSError, ValueError):
        return int(file.read_text(encoding="ascii"))
    return None
