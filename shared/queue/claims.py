"""What a worker asks for when it claims jobs, and what it gets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Self

from shared.lanes import QueueName

EPOCHS_PER_ENQUEUE = 1_000
"""A job that is put back after Redis lost it starts this much higher, so that every claim from before stays fenced."""
CLAIM_FIELDS = 8


class Opening(NamedTuple):
    """What arq asks for before it runs a job. `starts` counts them, this one included; `aborted`: somebody asked for that."""

    payload: bytes
    starts: int
    aborted: bool


class Claim(NamedTuple):
    """A job that this worker may run until its lease ends. `due_ms` is what it was queued for, Unix milliseconds.
    `owner` is a word that no other claim has. A payload too large to come with its claim leaves `opening` empty. `large` is
    how many bytes the payload of a large job has, and 0 for small ones.
    """

    queue: QueueName
    id: str
    epoch: int
    owner: str
    due_ms: int
    opening: Opening | None = None
    large: int = 0

    @property
    def tries(self) -> int:
        """How often it was claimed since it was enqueued, this time included."""
        return self.epoch % EPOCHS_PER_ENQUEUE


class Claims(list[Claim]):
    """The jobs of one claim. `held_up` is a queue whose next large job found no room in the worker's memory: until it has
    been taken, this worker gets no other large one of that queue, nor of those that come after it.
    """

    held_up: QueueName | None = None

    @classmethod
    def of(cls, owner: str, held_up: bytes, fields: Sequence[Any]) -> Self:
        """As `claim.lua` gives them, one after the other."""
        claims = cls(_claim(owner, *fields[i : i + CLAIM_FIELDS]) for i in range(0, len(fields), CLAIM_FIELDS))
        claims.held_up = QueueName(held_up.decode()) if held_up else None
        return claims


class Room(NamedTuple):
    """What may be claimed from `queue` now: of its provider and of its lane at most so many, over all their queues; batch and
    flex are one lane here. A byte of a payload takes `copies` bytes of the worker's memory.
    """

    queue: QueueName
    provider: int
    lane: int
    copies: int = 1


class Memory(NamedTuple):
    """What a worker has for large payloads: `free` bytes. `alone`: it runs no large job, so that one of any size may come."""

    free: int
    alone: bool


PLENTY = Memory(2**50, alone=True)


def _claim(
    owner: str,
    queue: bytes,
    job_id: bytes,
    epoch: int,
    due: bytes,
    payload: bytes,
    starts: int,
    aborted: int,
    large: int,
) -> Claim:
    opening = Opening(payload, starts, bool(aborted)) if payload else None
    return Claim(QueueName(queue.decode()), job_id.decode(), epoch, owner, int(float(due)), opening, large)
