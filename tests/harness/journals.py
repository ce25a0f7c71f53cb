"""Journals of requests, read straight from Redis."""

from __future__ import annotations

import redis.asyncio

from shared.job import Event, unpack_event
from shared.stores import keys


async def read_journal(client: redis.asyncio.Redis, request_id: str, first: int = 0, count: int = 0) -> list[Event]:
    """Events from `first` on, at most `count` (0: all). Raises redis-py's errors."""
    last = first + count - 1 if count else -1
    entries = await client.lrange(keys.journal(request_id), first, last)  # type: ignore[misc] # typed for both clients
    return [unpack_event(data) for data in entries]
