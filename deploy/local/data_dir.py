"""Files and folders: the lock of a run, private files, the sockets' folder, the wheels' folders."""

from __future__ import annotations

import contextlib
import fcntl
import importlib.util
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from deploy.local.errors import StartError

SOCKET_PATH_BYTES_MAX = 100
"""The most bytes of a socket's path; Linux takes 107, macOS 103."""
_LONGEST_SOCKET_NAME = ".s.PGSQL.5432.lock"


@contextlib.contextmanager
def run_lock(data_dir: Path) -> Iterator[None]:
    """Hold the folder for this process alone; it is created with mode 0700 if needed. `StartError` if another process holds
    it.
    """
    make_private(data_dir)
    with (data_dir / "run.lock").open("a+", encoding="utf-8") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StartError(_held_by(data_dir, lock.name)) from None
        lock.truncate(0)
        lock.write(f"{os.getpid()}\n")
        lock.flush()
        yield


def _held_by(data_dir: Path, lock: str) -> str:
    pid = Path(lock).read_text(encoding="utf-8").strip() or "unknown"
    return f"{data_dir} is in use by process {pid}: stop that run, or give this one a DATA_DIR and a PORT of its own"


def make_private(folder: Path) -> None:
    """Create a folder that only its owner can enter; an existing one is unchanged."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)


def write_private(path: Path, document: object) -> None:
    """Replace the file by the document as JSON, in one step, readable by its owner only."""
    draft = path.with_name(f".{path.name}.new")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        json.dump(document, file, indent=2)
        file.write("\n")
    draft.replace(path)


@contextlib.contextmanager
def socket_folder(folder: Path) -> Iterator[Path]:
    """The folder for a store's socket: the store's own, or a temporary one (0700) if the path is too long or has characters
    that URLs and Postgres's list of folders cannot hold.
    """
    pointer = folder.with_name(f"{folder.name}.sockets")
    _remove_temporary(pointer)
    path = str(folder / _LONGEST_SOCKET_NAME)
    if len(os.fsencode(path)) <= SOCKET_PATH_BYTES_MAX and re.fullmatch(r"[\w./-]+", path, re.ASCII):
        yield folder
        return
    short = tempfile.mkdtemp(prefix="rebootml-", dir=_short_temporary_folder())
    pointer.symlink_to(short)  # the next run finds what a killed run has left
    try:
        yield Path(short)
    finally:
        _remove_temporary(pointer)


def _short_temporary_folder() -> str:
    folder = tempfile.gettempdir()
    return folder if len(os.fsencode(folder)) < SOCKET_PATH_BYTES_MAX / 2 else "/tmp"  # noqa: S108 - mkdtemp makes it ours


def _remove_temporary(pointer: Path) -> None:
    if pointer.is_symlink():
        shutil.rmtree(pointer.readlink(), ignore_errors=True)
        pointer.unlink()


def wheel_folder(package: str) -> Path:
    """The folder of a wheel, without importing it: importing either wheel starts things that are not wanted."""
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise StartError(f"{package} is not installed: `make install`, or set DATABASE_URL and REDIS_URL")
    return Path(spec.submodule_search_locations[0])
