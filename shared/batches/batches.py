"""Batches over files of lines: how the API creates, shows and cancels them. `workers/batches/feed.py` feeds their lines, and
`finish.py` ends the batches.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime
from typing import Literal

import asyncpg
import msgspec

from shared.batches.files import Form, LineError
from shared.batches.queries import BATCHES, FILES, known_id, page_begins, row_of, rows_of, value_of
from shared.chat import Chat, Message, Sampling, Tools
from shared.errors import NotFound
from shared.job import KeptAnswer
from shared.money import NanoUsd
from shared.settings import TURN_TIMEOUT_S
from shared.stores.postgres import reached
from shared.stores.turns import patiently

LISTED_AT = "/api/batches"
"""The native route that lists an account's batches; other APIs have their own."""
State = Literal[
    "validating", "in_progress", "paused", "finalizing", "completed", "failed", "expired", "cancelling", "cancelled"
]


class AskedElse(msgspec.Struct, frozen=True, array_like=True):
    """A fallback model of a line: the name that was asked for, and the request in the form for this model. The form of
    the answer is the line's. `ignored` are fields of the line that are left out for this model.
    """

    model: str
    sampling: Sampling
    ignored: tuple[str, ...] = ()


class Ask(msgspec.Struct, frozen=True, array_like=True):
    """The request in one line. `max_tokens` is None if the line left it out."""

    model: str
    messages: list[Message]
    sampling: Sampling
    tools: Tools
    max_tokens: int | None
    metadata: dict[str, str] | None = None
    ignored: tuple[str, ...] = ()
    """Fields that were left out of the line."""
    repeated: bytes | None = None
    """The fields of the line that its answer repeats, as JSON; None for APIs whose answers repeat none."""
    others: tuple[AskedElse, ...] = ()
    """The fallback models of the line, in order. If there are any, messages and tools keep all cache marks, because each
    model takes different ones.
    """
    passed: tuple[str, ...] = ()
    """Models that the line names before `model`, and that nobody could call when the line was sent."""

    @property
    def chat(self) -> Chat:
        """The question to the model."""
        return Chat(self.messages, self.sampling, self.tools)

    def answered_by(self, kept: KeptAnswer) -> tuple[str, tuple[str, ...]]:
        """The model that gave the answer, and the fields that were left out for it."""
        other = next((one for one in self.others if one.model == kept.model), None)
        return (kept.model or self.model), (other.ignored if other else self.ignored)


class Batch(msgspec.Struct, frozen=True, kw_only=True):
    """A row of `batches`. Of `total` lines, `bad` were not understood and count as failed, and `fed` have become items."""

    id: str
    account_id: str
    key_id: str
    file_id: str
    file_day: date
    day: date
    form: Form
    endpoint: str
    state: State
    paused_for: str | None
    needed_nano: NanoUsd | None
    total: int
    bad: int
    fed: int
    completed: int
    failed: int
    cancelled: int
    expired: int
    charged_nano: NanoUsd
    ends_as: str
    metadata: dict[str, str] | None
    exported_to: str | None
    export_after: datetime | None
    deleted_files: list[str]
    created_at: datetime
    started_at: datetime | None
    cancelled_at: datetime | None
    finalized_at: datetime | None
    ended_at: datetime | None
    expires_at: datetime
    reason: str | None = None
    """The reason for which the service itself cancelled the batch: `key_revoked` or `key_expired`; None if it did not.
    """
    results_until: datetime | None = None
    """The time until which results are promised; None for a batch that was created by a release which did not store it.
    """
    saved_nano: NanoUsd = NanoUsd(0)
    """The nano-USD that lines at the tier flex have saved, compared with the default tier."""


_ask_encoder = msgspec.msgpack.Encoder()
_ask_decoder = msgspec.msgpack.Decoder(Ask)


def pack_ask(ask: Ask) -> bytes:
    """Encode as msgpack, for `Line.asked`."""
    return _ask_encoder.encode(ask)


def unpack_ask(data: bytes) -> Ask:
    """Decode what `pack_ask` has encoded. Raises `msgspec.DecodeError` for anything else."""
    return _ask_decoder.decode(data)


async def bad_lines_of(pool: asyncpg.Pool, batches: Sequence[Batch], limit: int) -> dict[str, list[LineError]]:
    """For each file, its first `limit` lines that were not understood."""
    days = {batch.file_id: batch.file_day for batch in batches if batch.bad}
    found: dict[str, list[LineError]] = {file_id: [] for file_id in days}
    for row in await rows_of(pool, FILES["bad_lines"], list(found), list(days.values()), limit) if days else ():
        found[row["file_id"]].append(LineError(row["line"], row["code"], row["message"]))
    return found


async def find_batch(pool: asyncpg.Pool, account_id: str, batch_id: str, listed_at: str = LISTED_AT) -> Batch:
    """The account's batch with this id. Raises `NotFound`, also for another account's batch; the message names the route
    that lists the batches of this API.
    """
    row = await row_of(pool, BATCHES["find"], known_id(batch_id), account_id)
    if row is None:
        raise NotFound(f"There is no such batch: GET {listed_at} lists yours.")
    return batch_from_row(row)


async def list_batches(pool: asyncpg.Pool, account_id: str, *, after: str | None, limit: int) -> list[Batch]:
    """The account's batches, newest first."""
    return [batch_from_row(row) for row in await rows_of(pool, BATCHES["page"], account_id, *page_begins(after), limit)]


async def list_newer_batches(pool: asyncpg.Pool, account_id: str, *, before: str, limit: int) -> list[Batch]:
    """The batches that were created right after the batch `before`, newest first. Raises `NotFound` if `before` is not an
    id.
    """
    rows = await rows_of(pool, BATCHES["page_before"], account_id, *page_begins(before), limit)
    return [batch_from_row(row) for row in reversed(rows)]


async def hide_output(pool: asyncpg.Pool, batch: Batch, file_id: str) -> bool:
    """Hide a result file of the batch; its content is deleted with the partition of its day. False if the file was hidden
    before.
    """
    return bool(await value_of(pool, BATCHES["hide_output"], batch.id, batch.account_id, file_id))


async def cancel_batch(
    pool: asyncpg.Pool,
    account_id: str,
    batch_id: str,
    listed_at: str = LISTED_AT,
    *,
    within_s: float = TURN_TIMEOUT_S,
) -> Batch:
    """Cancel a batch: lines that have not started do not start any more. A batch that has ended stays as it is. Raises
    `NotFound`.
    """
    await find_batch(pool, account_id, batch_id, listed_at)
    async with reached("Batches"):
        await patiently(pool, within_s, BATCHES["cancel"], batch_id, None)
    return await find_batch(pool, account_id, batch_id, listed_at)


def batch_from_row(row: asyncpg.Record) -> Batch:
    """Read a row of `batches`; columns that a later release has added are ignored."""
    known = {name: value for name, value in row.items() if name in Batch.__struct_fields__}
    metadata = row["metadata"]
    return Batch(**(known | {"metadata": None if metadata is None else msgspec.json.decode(metadata)}))
