"""What the files of an account may have together, and what a file counts towards that.

A file counts with the bytes of its lines, whose room is taken before they are stored. Answers of batches do not count: each
was paid for at its vendor's price.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple

import asyncpg

from shared.batches.queries import FILES, rows_of
from shared.errors import InsufficientCredit, RebootError, RequestTooLarge, Unavailable
from shared.money import NANO_PER_USD, nano_to_usd

if TYPE_CHECKING:
    from shared.batches.files import File, Line
    from shared.settings import Settings

FILE_BYTES = 1_000
"""What a file counts besides its lines."""
LINE_BYTES = 200
"""What a line takes besides its content: its row, its place in the index, the ids."""
GIVEN_UP = "The upload was given up, because nothing was heard of it for a while: send it again."
MAKE_ROOM = "delete files (DELETE /v1/files/{id}) to make room"
SIGNS_PER_SILENCE = 4


class Announced(NamedTuple):
    """What is known of an upload before its lines: how many bytes it says it has, 0 when it does not say. `by_credit`: the
    account's balance bounds it, too.
    """

    bytes: int = 0
    by_credit: bool = True


class TakenRoom:
    """What one upload has of its account's quota. It grows with the upload, and tells that the upload goes on."""

    def __init__(self, pool: asyncpg.Pool, file: File, announced: Announced, settings: Settings) -> None:
        """`begin_file` has taken what was announced."""
        self._pool = pool
        self._file = file
        self._announced = announced
        self._settings = settings
        self._taken = FILE_BYTES + announced.bytes
        self._told_at = time.monotonic()

    async def reach(self, counted: int) -> None:
        """Have room for `counted` bytes. Asks Postgres only when more is to be taken, or nothing was told for a while.

        Raises `RequestTooLarge` or `InsufficientCredit` when there is no room for it, `Unavailable` also when the upload was
        given up.
        """
        settings, wanted = self._settings, max(counted, self._taken)
        silent_s = time.monotonic() - self._told_at
        if wanted == self._taken and silent_s < settings.upload_silent_s / SIGNS_PER_SILENCE:
            return
        file, limits = self._file, limits_of(settings, self._announced)
        (row,) = await rows_of(
            self._pool, FILES["count"], file.id, file.account_id, wanted, *limits, settings.upload_silent_s
        )
        refuse_without_room(row, wanted, settings)
        if not row["lives"]:
            raise Unavailable(GIVEN_UP)
        self._taken, self._told_at = wanted, time.monotonic()

    async def tell(self) -> None:
        """That the upload goes on, now and then. Raises as `reach`."""
        await self.reach(self._taken)


def bytes_of(line: Line, sent: int) -> int:
    """What a line counts that came in `sent` bytes: those, or what is kept of it where that is more."""
    kept = len(line.asked or b"") + _size(line.custom_id) + _size(line.error_message) + LINE_BYTES
    return max(sent, kept)


def _size(text: str | None) -> int:
    if not text:
        return 0
    return len(text) if text.isascii() else len(text.encode())


def limits_of(settings: Settings, announced: Announced) -> tuple[int | None, ...]:
    """As SQL's `room_for` takes them."""
    by_credit = (settings.files_bytes_free, settings.files_bytes_per_usd) if announced.by_credit else (None, None)
    return settings.files_max, settings.files_bytes_max, *by_credit


def refuse_without_room(room: asyncpg.Record, wanted: int, settings: Settings) -> None:
    """`room` is what SQL's `room_for` says. Raises `RequestTooLarge` or `InsufficientCredit`."""
    if room["outcome"] != "ok":
        raise _refusal(room, wanted, settings)


def _refusal(room: asyncpg.Record, wanted: int, settings: Settings) -> RebootError:
    have = f"This account's files have {room['bytes_there']:,} bytes, and this one takes {wanted:,} more"
    if room["outcome"] == "files":
        return RequestTooLarge(f"This account has {room['files_there']:,} files, as many as it may: {MAKE_ROOM}.")
    if room["outcome"] == "bytes":
        return RequestTooLarge(
            f"{have}: together they may have {settings.files_bytes_max:,}. Send less, or {MAKE_ROOM}."
        )
    free, per_usd, balance = settings.files_bytes_free, settings.files_bytes_per_usd, nano_to_usd(room["balance"])
    needed_nano = -(-(room["bytes_there"] + wanted - free) * NANO_PER_USD // per_usd)
    return InsufficientCredit(
        f"{have}: they may have {free:,}, and {per_usd:,} more for each USD of its balance, which is {balance} USD."
        f" Add credit, or {MAKE_ROOM}.",
        needed_usd=nano_to_usd(needed_nano),
        available_usd=balance,
    )
