"""Creates items of lines: holds and items in one transaction. A line that the database refuses fails alone."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import takewhile
from typing import TYPE_CHECKING, NamedTuple

import asyncpg

from shared.batches.queries import BATCHES
from shared.errors import RebootError
from shared.job import Job
from shared.ledger.ledger import REFUSED, json_text
from workers.batches.items import RunnableLine, UnfitLine, as_fed, job_of

if TYPE_CHECKING:
    from shared.settings import Settings
    from workers.batches.cursors import Cursor

NOT_NOW = "not_now"


class Taken(NamedTuple):
    """The result for some lines: the jobs of those that are held for, and the lines that have failed. `outcome` says
    why no more lines were taken, see the SQL function `feed`; `needed_nano` is the hold that the next line needs.
    """

    jobs: list[Job]
    unfit: list[UnfitLine]
    outcome: str
    needed_nano: int


async def take(
    pool: asyncpg.Pool, cursor: Cursor, lines: Sequence[RunnableLine | UnfitLine], settings: Settings
) -> Taken:
    """Create items for the longest beginning of `lines` that can be held for, or for half of it if the database refuses
    a line. Raises asyncpg's errors.
    """
    rows = [as_fed(line, cursor.key_id, cursor.day) for line in lines]
    try:
        *admitted, last = await pool.fetch(
            BATCHES["feed"],
            *(cursor.batch_id, cursor.feed, cursor.fed_to, json_text(rows)),
            *(settings.in_flight_max, settings.batch_in_flight_kept, settings.batch_balance_percent / 100),
        )
    except REFUSED:
        first = lines[0]
        if len(lines) > 1:
            return await take(pool, cursor, lines[: len(lines) // 2], settings)
        if isinstance(first, UnfitLine):
            raise  # the error is not the line's
        return await take(pool, cursor, [_refused(first)], settings)
    holds = {row["request_id"]: row["granted_hold"] for row in admitted}
    beginning = takewhile(lambda line: isinstance(line, UnfitLine) or line.reservation.id in holds, lines)
    taken = [] if last["outcome"] == NOT_NOW else list(beginning)
    jobs = [job_of(line, holds[line.reservation.id]) for line in taken if isinstance(line, RunnableLine)]
    return Taken(jobs, [line for line in taken if isinstance(line, UnfitLine)], last["outcome"], last["needed"])


def _refused(line: RunnableLine) -> UnfitLine:
    held = line.reservation
    error = RebootError("The line could not be recorded: tell the operator the batch's id and the line's place in it.")
    return UnfitLine(held.batch_number or 0, held.batch_bytes or 0, error)
