"""The quota in bytes for all files of an account, and the bytes that a file counts.

A file counts the bytes of its lines, which are taken from the quota before they are stored. Answers of batches do not
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


class TakenQuota:
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
        self._shown_alive_at = time.monotonic()

    async def reach(self, counted: int) -> None:
        """Take `counted` bytes in all. Postgres is asked only if more are needed, or if the upload was not shown to be
        alive for a while. Raises `RequestTooLarge` or `InsufficientCredit` if the quota has too few left, and
        `Unavailable` if Postgres does not answer or the upload was given up.
        """
        settings, wanted = self._settings, max(counted, self._taken)
        silent_s = time.monotonic() - self._shown_alive_at
        if wanted == self._taken and silent_s < settings.upload_silent_s / SIGNS_PER_SILENCE:
            return
        file, limits = self._file, limits_of(settings, self._announced)
        (row,) = await rows_of(
            self._pool, FILES["count"], file.id, file.account_id, wanted, *limits, settings.upload_silent_s
        )
        require_quota(row, wanted, settings)
        if not row["lives"]:
            raise Unavailable(GIVEN_UP)
        self._taken, self._shown_alive_at = wanted, time.monotonic()

    async def show_alive(self) -> None:
        """Show in Postgres now and then that the upload is alive. Raises as `reach` does."""
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


def require_quota(quota: asyncpg.Record, wanted: int, settings: Settings) -> None:
    """Check the answer of SQL's `room_for`. Raises `RequestTooLarge` or `InsufficientCredit` if the quota has fewer than
    `wanted` bytes left.
    """
    if quota["outcome"] != "ok":
        raise _refusal(quota, wanted, settings)


def _refusal(quota: asyncpg.Record, wanted: int, settings: Settings) -> RebootError:
    have = f"This account's files have {quota['bytes_there']:,} bytes, and this one takes {wanted:,} more"
    if quota["outcome"] == "files":
        return RequestTooLarge(f"This account has {quota['files_there']:,} files, as many as it may: {MAKE_ROOM}.")
    if quota["outcome"] == "bytes":
        return RequestTooLarge(
            f"{have}: together they may have {settings.files_bytes_max:,}. Send less, or {MAKE_ROOM}."
        )
    free, per_usd, balance = settings.files_bytes_free, settings.files_bytes_per_usd, nano_to_usd(quota["balance"])
    needed_nano = -(-(quota["bytes_there"] + wanted - free) * NANO_PER_USD // per_usd)
    return InsufficientCredit(
        f"{have}: they may have {free:,}, and {per_usd:,} more for each USD of its balance, which is {balance} USD."
        f" Add credit, or {MAKE_ROOM}.",
        needed_usd=nano_to_usd(needed_nano),
        available_usd=balance,
    )
