"""The cursor of a batch in one feed: how far its lines are fed."""

from __future__ import annotations

from datetime import date, datetime
from typing import NamedTuple

from shared.lanes import Feed


class Cursor(NamedTuple):
    """A row of `batch_cursors`, and the fields of its batch that feeding needs. Of the batch's lines for `feed`, those up
    to number `fed_to` were fed, and `left_over` lines were not. If it is not `ready`, nothing is fed, because the batch
    has expired, or because its key has ended and the finisher stops the batch or hands it over first.
    """

    feed: Feed
    batch_id: str
    account_id: str
    key_id: str
    file_id: str
    file_day: date
    day: date
    created_at: datetime
    expires_at: datetime
    fed_to: int
    left_over: int
    ready: bool
