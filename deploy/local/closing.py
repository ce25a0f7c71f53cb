"""Keeps other users out of the folder of a run: everybody who can reach a store's socket there is the store's
superuser.

If root runs it, that would include every process of the user `nobody`, as whom Postgres runs, and Postgres would let
such a process read and write Postgres's files.
"""

from __future__ import annotations

import stat
from pathlib import Path

from deploy.local.errors import StartError

OURS = {
    *("run.lock", "run.json", "processes.json", "demo.json", "simulator.port", "logs"),
    *("postgres", "postgres.new", "postgres.sockets", "valkey", "valkey.sockets"),
}
"""The files that a run creates in its folder. Drafts of these files (`.run.json.new`) are there as well."""
OTHERS, OTHERS_WRITE, ANYBODY_WRITES = 0o077, 0o022, 0o002
ROOT = 0


def close_to_others(folder: Path, uid: int, *, with_stores: bool) -> str | None:
    """Close the folder before a run of the user `uid`, with or without stores of its own. Returns what was changed, or
    None. Raises `StartError` if the folder belongs to somebody else, or if others may have put something into it.
    """
    if not folder.exists():
        return None
    found = folder.stat()
    mode, names = stat.S_IMODE(found.st_mode), {entry.name for entry in folder.iterdir()}
    must_be_closed = uid == ROOT and with_stores
    if found.st_uid != uid:
        if must_be_closed:
            raise StartError(f"{folder} belongs to uid {found.st_uid}: as root give this run a DATA_DIR of root's own")
        return None
    if not mode & OTHERS:
        return None
    if names and mode & (OTHERS_WRITE if uid == ROOT else ANYBODY_WRITES):
        raise StartError(
            f"others may write in {folder} ({mode:04o}), and what is there may be theirs: {_advice(folder)}"
        )
    if any(not _is_ours(name) for name in names):
        if must_be_closed:
            raise StartError(
                f"others may enter {folder} ({mode:04o}), and who can is superuser of its Postgres: {_advice(folder)}"
            )
        return None
    folder.chmod(0o700)
    return f"{folder} was open to others ({mode:04o}): it is closed to them now (0700)"


def _is_ours(name: str) -> bool:
    return name in OURS or name.removeprefix(".").removesuffix(".new") in OURS


def _advice(folder: Path) -> str:
    return f"chmod 700 {folder} once you have looked, or give this run another DATA_DIR"
