"""What a claim has brought along, handed to arq in the place where it would ask Redis for it.

arq's `run_job` begins with one transaction: the payload, the count of starts, the ask to abort. The claim knows all of it,
so `pipeline` answers the first transaction of a job's task from there and leaves everything else to Redis.
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import Any, Self, cast

from arq.connections import ArqRedis

from shared.queue.queue import Opening

_opening: ContextVar[Opening | None] = ContextVar("opening", default=None)


def begin_with(opening: Opening | None) -> None:
    """For the job whose task this is."""
    _opening.set(opening)


class Pool:
    """A pool for arq's worker; `wrapped` gives it the type that arq knows."""

    def __init__(self, pool: ArqRedis) -> None:
        self._pool = pool

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever the pool has
        return getattr(self._pool, name)

    def pipeline(self, transaction: bool = True) -> Any:  # noqa: ANN401, FBT001, FBT002 - redis-py's signature
        """The answers that are here already, once; else redis-py's pipeline."""
        opening = _opening.get()
        if opening is None:
            return self._pool.pipeline(transaction=transaction)
        _opening.set(None)
        return _Answered(opening)


def wrapped(pool: ArqRedis) -> ArqRedis:
    """The same pool, with openings."""
    return cast(ArqRedis, Pool(pool))


class _Answered:
    """Takes what `run_job` asks, in its order: get, incr, expire, zrem. The ask to abort is forgotten by `finish`."""

    def __init__(self, opening: Opening) -> None:
        self._opening = opening

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        pass

    def get(self, _: str) -> None:
        pass

    def incr(self, _: str) -> None:
        pass

    def expire(self, _: str, __: int) -> None:
        pass

    def zrem(self, _: str, __: str) -> None:
        pass

    async def execute(self) -> tuple[bytes, int, bool, int]:
        """The claim's answers."""
        return self._opening.payload, self._opening.starts, True, int(self._opening.aborted)
