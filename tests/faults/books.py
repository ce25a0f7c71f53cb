"""What the service itself has on record of an account's requests: rows of the database, and what is left in Redis."""

from __future__ import annotations

import json
import re
from typing import NamedTuple

import asyncpg
from redis.asyncio import Redis

from shared.job import Event
from shared.ledger.check import check_ledger
from shared.stores import keys
from tests.harness.cluster import Cluster
from tests.harness.journals import read_journal

KEY_OF_MESSAGE = re.compile(r"key=([^\s\]]+)")


class Row(NamedTuple):
    """A request as the database has it; `key` is the simulator's, from the message. `captures`: its ledger entries."""

    id: str
    key: str
    state: str
    hold_state: str
    hold_nano: int
    charged_nano: int
    estimated: bool | None
    error_code: str | None
    attempts: int
    captures: int
    captured_nano: int


class Account(NamedTuple):
    """A wallet."""

    balance_nano: int
    held_nano: int
    in_flight: int


_ROWS = """
SELECT r.id, r.messages, r.state, r.hold_state, r.hold_nano, r.charged_nano, r.usage_estimated, r.error_code, r.attempts,
    count(l.id) AS captures, COALESCE(sum(l.amount_nano), 0)::bigint AS captured_nano
FROM requests r LEFT JOIN ledger l ON l.request_id = r.id
WHERE r.account_id = $1 GROUP BY r.id, r.created_at
"""
_SET_ASIDE = """
SELECT 'unbilled' AS kind, u.request_id FROM unbilled u JOIN requests r ON r.id = u.request_id WHERE r.account_id = $1
UNION ALL SELECT 'overrun', o.request_id FROM overruns o JOIN requests r ON r.id = o.request_id WHERE r.account_id = $1
UNION ALL SELECT 'quarantined', request_id FROM quarantine
"""


class Books:
    """One account on a cluster."""

    def __init__(self, cluster: Cluster, account_id: str) -> None:
        self._cluster = cluster
        self._account_id = account_id

    async def rows(self) -> list[Row]:
        found = await self._cluster.postgres.fetch(_ROWS, self._account_id)
        return [Row(row["id"], _key(row["messages"]), *tuple(row)[2:]) for row in found]

    async def account(self) -> Account:
        query = "SELECT balance_nano, held_nano, in_flight FROM accounts WHERE id = $1"
        (row,) = await self._cluster.postgres.fetch(query, self._account_id)
        return Account(*row)

    async def holds(self) -> int:
        """How many holds are pending."""
        query = "SELECT count(*) AS n FROM requests WHERE account_id = $1 AND hold_state = 'held'"
        (row,) = await self._cluster.postgres.fetch(query, self._account_id)
        return int(row["n"])

    async def nothing_runs(self) -> bool:
        """Whether every batch has ended, and then every request."""
        query = "SELECT count(*) AS n FROM batches WHERE account_id = $1 AND ended_at IS NULL"
        (row,) = await self._cluster.postgres.fetch(query, self._account_id)
        return not row["n"] and not await self.holds()

    async def set_aside(self) -> list[str]:
        """What was unbilled, an overrun or quarantined."""
        rows = await self._cluster.postgres.fetch(_SET_ASIDE, self._account_id)
        return [f"{row['kind']}: {row['request_id']}" for row in rows]

    async def journals(self, request_ids: list[str]) -> dict[str, list[Event]]:
        """The journals that are still there."""
        async with Redis.from_url(self._cluster.valkey.url) as client:
            return {one: events for one in request_ids if (events := await read_journal(client, one))}

    async def claims(self, request_ids: list[str]) -> dict[str, int]:
        """How often workers took each, as far as Redis still knows."""
        async with Redis.from_url(self._cluster.valkey.url) as client, client.pipeline(transaction=False) as pipe:
            for one in request_ids:
                pipe.hget(keys.run(one), "epoch")
            return {one: int(epoch or 0) for one, epoch in zip(request_ids, await pipe.execute(), strict=True)}

    async def left_over(self, request_ids: list[str]) -> list[str]:
        """What should be gone from Redis once everything has ended: jobs, leases, places in a queue, settle records."""
        queue = keys.queue("openai", "interactive")
        found = []
        async with Redis.from_url(self._cluster.valkey.url) as client:
            for one in request_ids:
                async with client.pipeline(transaction=False) as pipe:
                    pipe.exists(f"arq:job:{one}").exists(f"arq:in-progress:{one}")
                    pipe.zscore(queue, one).hexists(keys.SETTLES, one)
                    answers = await pipe.execute()
                names = ("job", "lease", "place in the queue", "settle record")
                found += [f"{one} left its {name}" for name, there in zip(names, answers, strict=True) if there]
        return found

    async def ledger_check(self) -> list[str]:
        """What `rebootml ledger check` finds, whoever asked for what."""
        async with asyncpg.create_pool(self._cluster.postgres.url, min_size=1, max_size=1) as pool:
            report = await check_ledger(pool)
        return [] if report.ok else [*report.violations, "ledger check failed"]


def _key(messages: str | None) -> str:
    text = json.loads(messages or "[{}]")[-1].get("content", "")
    found = KEY_OF_MESSAGE.search(text)
    return found.group(1) if found else ""
