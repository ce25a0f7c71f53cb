"""Gives arq the values that a claim has brought along, so that arq does not ask Redis for them.

arq's `run_job` begins with one transaction: the payload, the number of starts, the abort mark. The claim has all of
these, except payloads that are too large. arq keeps the payload until the job has ended, so it is given a placeholder,
which its deserializer replaces by the payload once.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from typing import Any, NamedTuple, Self, cast

from arq.connections import ArqRedis

from shared.queue.claims import Opening
from workers.long_steps import LONG_STEPS

Deserializer = Callable[[bytes], dict[str, Any]]
PUT_ASIDE = b"put aside"
"""The placeholder for the payload of the current task's job."""


class _Begins(NamedTuple):
    """A job whose first transaction is still to come. `opening` is the answer to that transaction, if the claim brought
    it. `large` is the size of a large job's payload in bytes.
    """

    opening: Opening | None
    large: int


_begins: ContextVar[_Begins | None] = ContextVar("begins", default=None)
_payload: ContextVar[bytes] = ContextVar("payload", default=b"")


def begin_with(opening: Opening | None, large: int) -> None:
    """Set the opening of the current task's job; None if the payload did not come with the claim."""
    _begins.set(_Begins(opening, large))


def deserializer(deserialize: Deserializer | None) -> Deserializer | None:
    """The same deserializer, which replaces the placeholder by the payload."""
    if deserialize is None:
        return None

    def deserialize_payload(data: bytes) -> dict[str, Any]:
        if data == PUT_ASIDE:
            data = _payload.get()
            _payload.set(b"")
        return deserialize(data)

    return deserialize_payload


class Pool:
    """A pool for arq's worker; `wrapped` gives it arq's type."""

    def __init__(self, pool: ArqRedis) -> None:
        self._pool = pool

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever the pool has
        return getattr(self._pool, name)

    def pipeline(self, transaction: bool = True) -> Any:  # noqa: ANN401, FBT001, FBT002 - redis-py's signature
        """The job's opening, once; afterwards redis-py's pipeline."""
        begins = _begins.get()
        _begins.set(None)
        if begins and begins.opening:
            return _Given(begins.opening)
        pipeline = self._pool.pipeline(transaction=transaction)
        return _Asked(pipeline, begins.large) if begins else pipeline


def wrapped(pool: ArqRedis) -> ArqRedis:
    """The same pool, which returns openings."""
    return cast(ArqRedis, Pool(pool))


class _Given:
    """Answers what `run_job` asks, in its order: get, incr, expire, zrem. `finish` removes the abort mark."""

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
        """The answers that the claim brought."""
        payload, starts, aborted = self._opening
        return _put_aside(payload), starts, True, int(aborted)


class _Asked:
    """redis-py's pipeline, whose first answer is the payload. It leaves the abort mark, which `finish` removes."""

    def __init__(self, pipeline: Any, large: int) -> None:  # noqa: ANN401 - redis-py's
        self._pipeline = pipeline
        self._large = large

    async def __aenter__(self) -> Self:
        await self._pipeline.__aenter__()
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._pipeline.__aexit__(*error)

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever the pipeline has
        return getattr(self._pipeline, name)

    def zrem(self, marks: str, job_id: str) -> None:
        self._pipeline.zscore(marks, job_id)

    async def execute(self) -> list[Any]:
        """Redis's answers."""
        async with LONG_STEPS.one(self._large):
            payload, *others = await self._pipeline.execute()
        return [_put_aside(payload) if payload else None, *others]


def _put_aside(payload: bytes) -> bytes:
    _payload.set(payload)
    return PUT_ASIDE
