"""Reads what Redis knows of requests: their jobs, and the events that workers have written.

Only this package knows arq's names for these keys. `workers/request/past.py` reads a request's journal together with the
records of its claims and calls, and the sweeps read settle records. Every function raises `Unavailable` if Redis does not
answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import msgspec
from arq.constants import abort_jobs_ss, in_progress_key_prefix, job_key_prefix
from arq.jobs import SerializationError, deserialize_job_raw

from shared.answers import whole
from shared.job import AnswerPart, Done, Event, Failed, Job, Served, arq_deserializer, unpack_event, unpack_job
from shared.money import Usage
from shared.stores import keys
from shared.stores.redis_client import reached

if TYPE_CHECKING:
    import redis.asyncio

ONE, MANY, STREAM = "The state of the request", "The state of the requests", "The stream"
ASKED_AT_ONCE = 500
"""The most requests of one question, because other calls to Redis wait behind it."""


class Journaled(msgspec.Struct, frozen=True):
    """The events in a request's journal."""

    events: tuple[Event, ...] = ()

    @property
    def end(self) -> Done | Failed | None:
        """The last event, if the request has ended."""
        last = self.events[-1] if self.events else None
        return last if isinstance(last, Done | Failed) else None

    @property
    def parts(self) -> tuple[AnswerPart, ...]:
        """The parts of the answer that came before the end."""
        return tuple(event for event in self.events if not isinstance(event, Done | Failed | Served))


class Known(Journaled, frozen=True):
    """The state of a request in Redis: whether a worker has it, its events, and its job."""

    running: bool = False
    job: Job | None = None
    """The job; None once it is no longer kept, and if another release wrote it in a form that cannot be read."""

    @property
    def answer(self) -> Done | None:
        """Everything that the model wrote, even if it was cut off; None if there is nothing."""
        if isinstance(self.end, Done) and self.end.text is not None:
            return self.end
        return whole(Done("", Usage(0, 0), 0), self.parts) if self.events else None

    @property
    def served_by(self) -> str | None:
        """The model that answers, if it is not the first of the chain; else None."""
        first = self.events[0] if self.events else None
        return first.model if isinstance(first, Served) else None


class Size(NamedTuple):
    """The bytes that Redis has of a request: of its job, and of its journal (None if there is no journal)."""

    job: int
    journal: int | None


async def known_of(client: redis.asyncio.Redis, request_id: str) -> Known:
    """Everything that Redis still knows about the request."""
    with reached(ONE):
        async with client.pipeline(transaction=False) as pipe:
            pipe.exists(in_progress_key_prefix + request_id)
            pipe.lrange(keys.journal(request_id), 0, -1)
            pipe.mget([keys.asked(request_id), job_key_prefix + request_id])
            running, journal, payloads = await pipe.execute()
    events = tuple(map(unpack_event, journal))
    return Known(events, running=bool(running), job=_readable(next(filter(None, payloads), None)))


async def size_of(client: redis.asyncio.Redis, request_id: str) -> Size:
    """The approximate bytes that `known_of` reads."""
    with reached(ONE):
        async with client.pipeline(transaction=False) as pipe:
            pipe.strlen(keys.asked(request_id))
            pipe.strlen(job_key_prefix + request_id)
            pipe.memory_usage(keys.journal(request_id), samples=0)
            *job, journal = await pipe.execute()
    return Size(sum(job), journal)


async def job_of(client: redis.asyncio.Redis, request_id: str) -> Job | None:
    """The job of a request that has not ended; None if there is none, or none that can be read."""
    with reached(ONE):
        return _readable(await client.get(job_key_prefix + request_id))


async def running_among(client: redis.asyncio.Redis, request_ids: Sequence[str]) -> set[str]:
    """The ids of the requests that a worker has."""
    if not request_ids:
        return set()
    with reached(MANY):
        marks = await client.mget([in_progress_key_prefix + one for one in request_ids])
    return {one for one, mark in zip(request_ids, marks, strict=True) if mark}


async def cancelled_among(client: redis.asyncio.Redis, request_ids: Sequence[str]) -> set[str]:
    """The ids of the requests that somebody has asked to cancel and that have not ended."""
    if not request_ids:
        return set()
    with reached(MANY):
        marks = await client.zmscore(abort_jobs_ss, list(request_ids))
    return {one for one, mark in zip(request_ids, marks, strict=True) if mark is not None}


async def lost_among(client: redis.asyncio.Redis, request_ids: Sequence[str]) -> list[str]:
    """The ids of the requests that Redis does not know: they neither wait nor run, have no journal and no settle record."""
    lost: list[str] = []
    for first in range(0, len(request_ids), ASKED_AT_ONCE):
        asked = request_ids[first : first + ASKED_AT_ONCE]
        with reached(MANY):
            async with client.pipeline() as pipe:
                for one in asked:
                    pipe.exists(job_key_prefix + one, keys.journal(one))
                    pipe.hexists(keys.SETTLES, one)
                found = await pipe.execute()
        lost += [one for one, *known in zip(asked, found[::2], found[1::2], strict=True) if not any(known)]
    return lost


async def has_journal(client: redis.asyncio.Redis, request_id: str) -> bool:
    """True if the request's journal is still there."""
    with reached(STREAM):
        return bool(await client.exists(keys.journal(request_id)))


async def end_of_journal(client: redis.asyncio.Redis, request_id: str) -> tuple[int, Event | None]:
    """The number of events in the journal, and the last one."""
    with reached(STREAM):
        async with client.pipeline(transaction=False) as pipe:
            pipe.llen(keys.journal(request_id))
            pipe.lindex(keys.journal(request_id), -1)
            length, last = await pipe.execute()
    return length, None if last is None else unpack_event(last)


async def forget_answer(client: redis.asyncio.Redis, request_id: str) -> None:
    """Delete the journal of a request that has ended, and the copy of its job."""
    with reached(ONE):
        await client.unlink(keys.journal(request_id), keys.asked(request_id))


def _readable(payload: bytes | None) -> Job | None:
    if payload is None:
        return None
    try:
        _, (sealed,), *_ = deserialize_job_raw(payload, deserializer=arq_deserializer)
        return unpack_job(sealed.data)
    except (SerializationError, msgspec.DecodeError):
        return None
