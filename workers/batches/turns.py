"""Turns of batches: accounts take turns, and so do the batches of one account, however many are open.

A round looks at some accounts and at some batches of each, and the next round begins behind those that were fed. So a
round reads a bounded number of rows, and every batch gets its turn.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from shared.batches.queries import BATCHES
from shared.lanes import Feed
from shared.newest import Value, keep_newest
from shared.stores.postgres import Connection
from workers.batches.cursors import Cursor

ACCOUNTS_PER_ROUND = 50
CURSORS_PER_ACCOUNT = 20
REMEMBERED_MAX = 10_000


class Page(NamedTuple):
    """The cursors of one round: accounts in the order of their turns, and the cursors of each account in the order of
    theirs. `last` is true if the next page begins anew.
    """

    accounts: list[str]
    cursors: list[Cursor]
    last: bool


class Turns:
    """The turns of one feed. They are lost with the worker; then all turns begin anew."""

    def __init__(self, feed: Feed) -> None:
        self._feed = feed
        self._after = ""
        self._after_batch: dict[str, str] = {}
        """By account, the batch after which the account's next turn begins."""
        self._quiet = True
        """True if nothing could be fed since the feed began with its first account."""

    async def page(self, connection: Connection) -> Page:
        """The present page; its first batch has waited longest. Raises asyncpg's errors."""
        accounts = await self._accounts(connection, self._after, ACCOUNTS_PER_ROUND)
        last = len(accounts) < ACCOUNTS_PER_ROUND
        if last and self._after:
            from_the_beginning = await self._accounts(connection, "", ACCOUNTS_PER_ROUND - len(accounts))
            accounts = list(dict.fromkeys([*accounts, *from_the_beginning]))
        after = [self._after_batch.get(account, "") for account in accounts]
        rows = await connection.fetch(BATCHES["open_cursors"], self._feed, accounts, after, CURSORS_PER_ACCOUNT)
        return Page(accounts, [Cursor(self._feed, **row) for row in rows], last)

    async def _accounts(self, connection: Connection, after: str, most: int) -> list[str]:
        return [row["account_id"] for row in await connection.fetch(BATCHES["turns"], self._feed, after, most)]

    def passed(self, page: Page, chosen: Iterable[Cursor]) -> None:
        """Note the turns. The `chosen` batches of the page are fed now, so every batch before the last of them has had its
        turn; if there are none, the whole page has had its turn.
        """
        fed = {cursor.batch_id for cursor in chosen}
        seen = {cursor.account_id: cursor.batch_id for cursor in page.cursors}
        last_fed = {cursor.account_id: cursor.batch_id for cursor in page.cursors if cursor.batch_id in fed}
        place = max(
            (place for place, one in enumerate(page.accounts) if one in last_fed), default=len(page.accounts) - 1
        )
        for account in page.accounts[: place + 1]:
            if account in seen:
                remember(self._after_batch, account, last_fed.get(account, seen[account]))
        self._after = page.accounts[place]

    def is_over(self, page: Page, *, busy: bool) -> bool:
        """True if all accounts have had a turn and nothing could be fed, since the feed began with its first account. `busy`
        is true if something of this page can be fed. After the last page the feed begins anew.
        """
        self._quiet = self._quiet and not busy
        over = page.last and self._quiet
        self._quiet = self._quiet or page.last
        return over


def remember(known: dict[str, Value], key: str, value: Value) -> None:
    """Store the value as the newest; if there are too many, the oldest are forgotten."""
    keep_newest(known, key, value, REMEMBERED_MAX)
