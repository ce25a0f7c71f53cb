"""How Postgres runs a query: its plan with what was read, as a custom plan and as the generic one of a prepared query."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import asyncpg

PLAN_CACHE_MODES = ("force_custom_plan", "force_generic_plan")
Node = dict[str, Any]


async def plan_of(pool: asyncpg.Pool, mode: str, query: str, types: str, arguments: str) -> Node:
    """Run the query, prepared for parameters of these types; gives the plan's topmost node."""
    async with pool.acquire() as connection, connection.transaction():
        await connection.execute(f"SET LOCAL plan_cache_mode = {mode}; PREPARE asked ({types}) AS {query}")
        try:
            text = await connection.fetchval(f"EXPLAIN (ANALYZE, TIMING OFF, FORMAT JSON) EXECUTE asked ({arguments})")
        finally:
            await connection.execute("DEALLOCATE asked")
    node: Node = json.loads(text)[0]["Plan"]
    return node


def nodes_of(node: Node) -> Iterator[Node]:
    """The node and all below it."""
    yield node
    for child in node.get("Plans", []):
        yield from nodes_of(child)


def scans_of(plan: Node) -> list[Node]:
    """The nodes that read a table and were run."""
    return [node for node in nodes_of(plan) if "Relation Name" in node and node["Actual Loops"]]


def rows_read(plan: Node) -> float:
    """Rows that were fetched from tables, also those that a filter threw away."""
    fetched = (
        (node["Actual Rows"] + node.get("Rows Removed by Filter", 0)) * node["Actual Loops"] for node in scans_of(plan)
    )
    return float(sum(fetched))
