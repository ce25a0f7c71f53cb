"""`rebootml ledger check`: proves on one snapshot of the database that the books balance."""

from __future__ import annotations

import asyncpg
import msgspec

from shared.money import nano_to_usd
from shared.stores.postgres import load_queries

RULES_TAKING_SECONDS = {"no_hold_outlives_its_time": 60.0}
"""By rule, for how many seconds after its end of life a hold may wait for the sweep."""
CHECK_TIMEOUT_S = 600.0


class UpstreamBooks(msgspec.Struct, frozen=True):
    """What an upstream brought in and cost, from the first request on."""

    name: str
    """The upstream's name."""
    requests: int
    """Requests that it ended."""
    charged_usd: str
    """What callers were charged for these requests, in USD."""
    cost_usd: str
    """What the vendor takes for these requests, in USD."""
    lost_calls: int
    """Calls for which nobody was charged."""
    lost_usd: str
    """What the vendor takes for these calls, in USD."""


class Report(msgspec.Struct, frozen=True):
    """Whether the books balance."""

    ok: bool
    """Whether no rule is violated."""
    violations: list[str]
    """Sentences that name the rule, the subject and the figures."""
    accounts: int
    """Accounts that were checked."""
    requests: int
    """Requests that were checked."""
    tier_losses_usd: str
    """What vendors took more than at the tier that was sold, in USD: the house's loss, no violation."""
    upstreams: list[UpstreamBooks]
    """What each upstream brought in and cost."""


async def check_ledger(pool: asyncpg.Pool) -> Report:
    """Check all rules on one snapshot; changes nothing. Raises asyncpg's errors."""
    queries = load_queries("ledger_check")
    count_query, upstreams_query = queries.pop("counts"), queries.pop("upstreams")
    violations: list[str] = []
    async with pool.acquire() as connection, connection.transaction(isolation="repeatable_read", readonly=True):
        for rule, query in queries.items():
            arguments = [RULES_TAKING_SECONDS[rule]] if rule in RULES_TAKING_SECONDS else []
            rows = await connection.fetch(query, *arguments, timeout=CHECK_TIMEOUT_S)
            violations += [f"{rule.replace('_', ' ')}: {row['subject']}: {row['detail']}" for row in rows]
        (counts,) = await connection.fetch(count_query, timeout=CHECK_TIMEOUT_S)
        upstreams = await connection.fetch(upstreams_query, timeout=CHECK_TIMEOUT_S)
    losses_usd = nano_to_usd(counts["tier_losses_nano"])
    books = [_books(row) for row in upstreams]
    return Report(not violations, violations, counts["accounts"], counts["requests"], losses_usd, books)


def _books(row: asyncpg.Record) -> UpstreamBooks:
    charged_usd, cost_usd, lost_usd = (nano_to_usd(row[f"{kind}_nano"]) for kind in ("charged", "cost", "lost"))
    return UpstreamBooks(row["name"], row["requests"], charged_usd, cost_usd, row["lost_calls"], lost_usd)
