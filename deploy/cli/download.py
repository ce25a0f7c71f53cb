"""Downloads results into a file, and continues an earlier download that broke off."""

from __future__ import annotations

from contextlib import aclosing
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import msgspec

from deploy.cli.service import Service
from shared.errors import Conflict


class Kept(NamedTuple):
    """The part of a file that is kept: its bytes and lines, and the line after which the download continues. Lines
    after the last successful one are fetched again, because only a successful line certainly has a `custom_id` of its
    own.
    """

    bytes: int = 0
    lines: int = 0
    after: str | None = None
    before: str | None = None
    """The successful line before that line; it ends at `before_bytes`."""
    before_bytes: int = 0


class ResultLine(msgspec.Struct, frozen=True):
    """The only field of a line that is needed here."""

    custom_id: str | None
    status: int


_decoder = msgspec.json.Decoder(ResultLine)


async def download(service: Service, batch: dict[str, Any], path: Path) -> int:
    """Download and return the number of lines in the file. An existing file is continued if it is the beginning of the
    results of an ended batch; results of a running batch may have gaps, so they are fetched anew. Raises `Conflict` for a
    file of something else.
    """
    kept = kept_of(path)
    if batch["ended_at"] and kept.after is not None and await _is_of(service, batch["id"], path, kept):
        lines = await _fetch(service, batch["id"], path, kept)
        if lines == batch["counts"]["total"]:
            return lines
    return await _fetch(service, batch["id"], path, Kept())


def kept_of(path: Path) -> Kept:
    """Read the file line by line; an incomplete last line is not kept. Raises `Conflict` for a file of something else."""
    kept, end, lines = Kept(), 0, 0
    if not path.exists():
        return kept
    with path.open("rb") as file:
        for line in file:
            one = _understood(line)
            if one is None and line.endswith(b"\n"):
                raise Conflict(f"{path} is there and holds something else: name another file.")
            if one is None:
                break
            end += len(line)
            lines += 1
            if one.status and one.custom_id is not None:
                kept = Kept(end, lines, one.custom_id, kept.after, kept.bytes)
    if not lines and end < path.stat().st_size and not _could_begin(path):
        raise Conflict(f"{path} is there and holds something else: name another file.")
    return kept


def _understood(line: bytes) -> ResultLine | None:
    if not line.endswith(b"\n"):
        return None
    try:
        return _decoder.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def _could_begin(path: Path) -> bool:
    """True if the only, incomplete line of the file could be of a result."""
    beginning = b'{"custom_id":'
    with path.open("rb") as file:
        start = file.read(len(beginning))
    return beginning.startswith(start)


async def _is_of(service: Service, batch_id: str, path: Path, kept: Kept) -> bool:
    """True if the file's first and last lines are this batch's; another batch may have the same ids."""
    with path.open("rb") as file:
        first = file.readline()
        file.seek(kept.before_bytes)
        last = file.read(kept.bytes - kept.before_bytes)
    return await _begins_with(service, batch_id, None, first) and await _begins_with(
        service, batch_id, kept.before, last
    )


async def _begins_with(service: Service, batch_id: str, after: str | None, mine: bytes) -> bool:
    theirs = b""
    async with aclosing(service.results(batch_id, after)) as results:
        async for chunk in results:
            theirs += chunk
            if len(theirs) >= len(mine):
                break
    return theirs.startswith(mine)


async def _fetch(service: Service, batch_id: str, path: Path, kept: Kept) -> int:
    with path.open("ab") as file:
        file.truncate(kept.bytes)
        return kept.lines + await _write(service, batch_id, kept.after, file)


async def _write(service: Service, batch_id: str, after: str | None, file: BinaryIO) -> int:
    lines = 0
    async for chunk in service.results(batch_id, after):
        file.write(chunk)
        lines += chunk.count(b"\n")
    return lines
