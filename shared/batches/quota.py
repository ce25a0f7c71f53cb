"""The quota in bytes for all files of an account, and the bytes that a file counts.

A file counts the bytes of its lines, and room for them is taken before they are stored. Answers of batches do not
count: each was paid for at its vendor's price.
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
"""Bytes that a file counts beside its lines."""
LINE_BYTES = 200
"""Bytes that a line counts beside its content: its row, its index entry, its ids."""
GIVEN_UP = "The upload was given up, because nothing was heard of it for a while: send it again."
MAKE_ROOM = "delete files (DELETE /v1/files/{id}) to make room"
SIGNS_PER_SILENCE = 4


class Announced(NamedTuple):
    """The facts about an upload before its lines: its length in bytes (0 if it is not announced), and whether the
    account's balance limits it, too (`by_credit`).
    """

    bytes: int = 0
    by_credit: bool = True


class TakenRoom:
    """The bytes of its account's quota that one upload has taken. They grow with the upload. Taking them also shows that
    the upload is alive.
    """

    def __init__(self, pool: asyncpg.Pool, file: File, announced: Announced, settings: Settings) -> None:
        """`begin_file` must have taken the announced bytes."""
        self._pool = pool
        self._file = file
        self._announced = announced
        self._settings = settings
        self._taken = FILE_BYTES + announced.bytes
        self._told_at = time.monotonic()

    async def reach(self, counted: int) -> None:
        """Take room for `counted` bytes in all. Postgres is asked only if more room is needed, or if it was not told
        for a while that the upload is alive. Raises `RequestTooLarge` or `InsufficientCredit` if there is no room, and
        `Unavailable` if Postgres does not answer or the upload was given up.
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
        """Tell Postgres now and then that the upload is alive. Raises as `reach` does."""
        await self.reach(self._taken)


def bytes_of(line: Line, sent: int) -> int:
    """The bytes that a line counts: the `sent` bytes, or the stored ones if they are more."""
    kept = len(line.asked or b"") + _size(line.custom_id) + _size(line.error_message) + LINE_BYTES
    return max(sent, kept)


def _size(text: str | None) -> int:
    if not text:
        return 0
    return len(text) if text.isascii() else len(text.encode())


def limits_of(settings: Settings, announced: Announced) -> tuple[int | None, ...]:
    """The arguments of SQL's `room_for`."""
    by_credit = (settings.files_bytes_free, settings.files_bytes_per_usd) if announced.by_credit else (None, None)
    return settings.files_max, settings.files_bytes_max, *by_credit


def refuse_without_room(room: asyncpg.Record, wanted: int, settings: Settings) -> None:
    """Check the answer of SQL's `room_for`. Raises `RequestTooLarge` or `InsufficientCredit` if it leaves no room for
    `wanted` bytes.
    """
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
