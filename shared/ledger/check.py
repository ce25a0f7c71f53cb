"""`rebootml ledger check`: proves on one snapshot of the database that the books balance."""

from __future__ import annotations

import asyncpg
import msgspec

from shared.money import nano_to_usd
from shared.stores.postgres import load_queries

RULES_TAKING_SECONDS = {"no_hold_outlives_its_time": 60.0}
"""By rule, the seconds after its end of life for which a hold may wait for the sweep."""
CHECK_TIMEOUT_S = 600.0


class UpstreamBooks(msgspec.Struct, frozen=True):
    """The income and the cost of one upstream, since the first request."""

    name: str
    """The upstream's name."""
    requests: int
    """The number of requests that the upstream ended."""
    charged_usd: str
    """The USD that callers were charged for these requests, as a decimal string."""
    cost_usd: str
    """The USD that the vendor takes for these requests, as a decimal string."""
    lost_calls: int
    """The number of calls that the vendor bills and no caller was charged for."""
    lost_usd: str
    """The USD that the vendor takes for these lost calls, as a decimal string."""


class Report(msgspec.Struct, frozen=True):
    """The result of a check of the books."""

    ok: bool
    """True if no rule is violated."""
    violations: list[str]
    """A sentence for each violation, with the rule, the subject and the figures."""
    accounts: int
    """The number of accounts that were checked."""
    requests: int
    """The number of requests that were checked."""
    tier_losses_usd: str
    """The USD that vendors took beyond the price of the tier that was sold, as a decimal string. It is the operator's
    loss and no violation.
    """
    upstreams: list[UpstreamBooks]
    """The income and the cost of each upstream."""


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
