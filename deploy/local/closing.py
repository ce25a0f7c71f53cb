"""Sees to it that nobody else can enter the folder of a run: who can reach a store's socket there is its superuser.

As root that would be anybody who is `nobody`, as whom Postgres runs, and then with root's right to read and write every file.
"""

from __future__ import annotations

import stat
from pathlib import Path

from deploy.local.errors import StartError

OURS = {
    *("run.lock", "run.json", "processes.json", "demo.json", "simulator.port", "logs"),
    *("postgres", "postgres.new", "postgres.sockets", "valkey", "valkey.sockets"),
}
"""What a run makes in its folder, besides drafts of these files (`.run.json.new`)."""
OTHERS, OTHERS_WRITE, ANYBODY_WRITES = 0o077, 0o022, 0o002
ROOT = 0


def close_to_others(folder: Path, uid: int, *, with_stores: bool) -> str | None:
    """Before a run of the user `uid`, with stores of its own or without. Gives what was done about a folder that is open to
    others; raises `StartError` where it is not ours to close, or where somebody else may have put something in it.
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
