"""The options of `make run`: the environment, read once and checked before anything starts."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import msgspec

from deploy.local.procfile import Command, parse_processes, read_procfile
from shared.secret_files import secret

PROJECT = Path(__file__).parents[2]
DRAIN_S = "10"
"""Seconds of drain time. They are fewer than in a deployment, because somebody has pressed Ctrl-C and waits."""
STOP_S = 20.0


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """The options of one run; `environment` is what the children inherit."""

    host: str
    port: int
    data_dir: Path
    database_url: str | None
    redis_url: str | None
    demo: bool
    drain_s: float
    commands: dict[str, Command]
    processes: dict[str, int]
    environment: dict[str, str]

    @classmethod
    def load(cls, environment: Mapping[str, str]) -> Options:
        """Read and check the environment; ValueError is one line that names the variable."""
        given = {name: value.strip() for name, value in environment.items() if value.strip()}
        commands = _commands(Path(given.get("PROCFILE", PROJECT / "Procfile")))
        drain = given.get("DRAIN_S", DRAIN_S)
        database_url = secret("DATABASE_URL", given) or None
        return cls(
            host=given.get("HOST", "127.0.0.1"),
            port=_port(given.get("PORT", "8080")),
            data_dir=Path(given.get("DATA_DIR", PROJECT / ".data")).expanduser().absolute(),
            database_url=database_url,
            redis_url=secret("REDIS_URL", given) or None,
            demo=database_url is None or given.get("DEMO") == "1",
            drain_s=_seconds("DRAIN_S", drain),
            commands=commands,
            processes=parse_processes(given.get("PROCESSES", "web=1,worker=1"), frozenset(commands) - {"release"}),
            environment={**environment, "DRAIN_S": drain},
        )

    @property
    def stop_s(self) -> float:
        """Seconds that a process may take to end before it is killed: its drain time and some more."""
        return max(STOP_S, self.drain_s + 10)


def _commands(procfile: Path) -> dict[str, Command]:
    try:
        return read_procfile(procfile)
    except OSError as error:
        raise ValueError(f"PROCFILE={str(procfile)!r} cannot be read: {error.strerror}") from None


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) <= 65_535):  # noqa: PLR2004 - the last TCP port
        raise ValueError(f"PORT={text!r} is wrong: it takes a port from 0 to 65535")
    return int(text)


def _seconds(variable: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 86_400:  # noqa: PLR2004 - a day
        raise ValueError(f"{variable}={text!r} is wrong: it takes seconds from 0 to 86400")
    return value
