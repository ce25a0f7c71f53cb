"""Reads the Procfile (`name: command`, one a line) and PROCESSES (`web=2,worker=3`)."""

from __future__ import annotations

import shlex
from pathlib import Path

from shared.utf8 import NotUtf8, utf8

REQUIRED = ("web", "worker")
INSTANCES_MAX = 64
Command = tuple[str, ...]


def read_procfile(path: Path) -> dict[str, Command]:
    """Return the commands by name, in the file's order; ValueError says which line is not `name: command`."""
    commands: dict[str, Command] = {}
    try:
        text = utf8(path.read_bytes()).decode()
    except NotUtf8 as error:
        raise ValueError(f"{path} is {error}: save it as UTF-8") from None
    for line in text.splitlines():
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        name, colon, command = line.partition(":")
        words = tuple(shlex.split(command))
        if not (colon and name.strip() and words):
            raise ValueError(f"{path}: {line!r} is not `name: command`")
        commands[name.strip()] = words
    return commands


def parse_processes(text: str, names: frozenset[str]) -> dict[str, int]:
    """Return how many of each to run; at least one `web` and one `worker`, else ValueError.

    >>> parse_processes("web=1,worker=2", frozenset({"web", "worker"}))
    {'web': 1, 'worker': 2}
    """
    counts = dict(_parse_one(part, names) for part in text.split(",") if part.strip())
    for name in REQUIRED:
        if counts.get(name, 0) < 1:
            raise ValueError(f"PROCESSES={text!r} is wrong: it takes at least one {name}, as in web=1,worker=1")
    return counts


def _parse_one(part: str, names: frozenset[str]) -> tuple[str, int]:
    name, _, number = (piece.strip() for piece in part.partition("="))
    if name not in names:
        raise ValueError(f"PROCESSES names {name!r}, which the Procfile does not: it has {', '.join(sorted(names))}")
    if not (number.isascii() and number.isdigit() and int(number) <= INSTANCES_MAX):
        raise ValueError(f"PROCESSES: {part.strip()!r} is wrong: it takes {name}=N, N a number up to {INSTANCES_MAX}")
    return name, int(number)
