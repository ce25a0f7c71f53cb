"""`rebootml ledger check`: proves on one snapshot of the database that the books balance."""

from __future__ import annotations

import asyncpg
import msgspec

from shared.money import nano_to_usd
from shared.stores.postgres import load_queries

RULES_TAKING_SECONDS = {"no_hold_outlives_its_time": 60.0}
"""How long after its end of life a hold may wait for the sweep."""
CHECK_TIMEOUT_S = 600.0


class Report(msgspec.Struct, frozen=True):
    """`violations` are sentences that name the rule, the subject and the figures. `tier_losses_usd` is what vendors took more
    than at the tier that was sold, ever: no violation, but the house's loss.
    """

    ok: bool
    violations: list[str]
    accounts: int
    requests: int
    tier_losses_usd: str


async def check_ledger(pool: asyncpg.Pool) -> Report:
    """Reads everything once; changes nothing. Raises asyncpg's errors."""
    queries = load_queries("ledger_check")
    count_query = queries.pop("counts")
    violations: list[str] = []
    async with pool.acquire() as connection, connection.transaction(isolation="repeatable_read", readonly=True):
        for rule, query in queries.items():
            arguments = [RULES_TAKING_SECONDS[rule]] if rule in RULES_TAKING_SECONDS else []
            rows = await connection.fetch(query, *arguments, timeout=CHECK_TIMEOUT_S)
            violations += [f"{rule.replace('_', ' ')}: {row['subject']}: {row['detail']}" for row in rows]
        (counts,) = await connection.fetch(count_query, timeout=CHECK_TIMEOUT_S)
    losses_usd = nano_to_usd(counts["tier_losses_nano"])
    return Report(not violations, violations, counts["accounts"], counts["requests"], losses_usd)
