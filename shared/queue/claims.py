"""The limits with which a worker claims jobs, and the jobs that it gets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Self

from shared import clock
from shared.ids import created_at
from shared.lanes import QueueName

EPOCHS_PER_ENQUEUE = 1_000
"""The distance between the epochs of a job that is enqueued and of one that is enqueued again after Redis lost it: a multiple
of this number, so that every earlier claim stays fenced.
"""
CLAIM_FIELDS = 8


def epoch_when_lost(request_id: str) -> int:
    """The epoch with which a job is enqueued again after Redis has lost it. It rises with the seconds since the request was
    made: several processes may find the same loss, and none of them may reuse the epoch of an earlier claim.
    """
    age_s = (clock.utc_now() - created_at(request_id)).total_seconds()
    return max(1, int(age_s)) * EPOCHS_PER_ENQUEUE


class Opening(NamedTuple):
    """The values that arq reads before it runs a job. `starts` counts the starts including this one; `aborted` is true
    if somebody asked to cancel the job.
    """

    payload: bytes
    starts: int
    aborted: bool


class Claim(NamedTuple):
    """A job that this worker may run until its lease ends. `due_ms` is the time at which it became due, in Unix
    milliseconds; if a worker has died, that is the end of its lease. `owner` is unique to the call of `claim` that took
    the job: the jobs of one call share it, and no two claims of one job have it. `opening` is empty if the payload is too
    large to come with the claim.
    `large` is the size of a large job's payload in bytes, 0 for small jobs.
    """

    queue: QueueName
    id: str
    epoch: int
    owner: str
    due_ms: int
    opening: Opening | None = None
    large: int = 0

    @property
    def attempt(self) -> int:
        """The number of this claim of the job: 1 for the first one since it was enqueued. Moves to other models count."""
        return self.epoch % EPOCHS_PER_ENQUEUE


class Claims(list[Claim]):
    """The jobs of one claim. `held_up` names a queue whose next large job does not fit into the worker's memory: until that
    job is taken, the worker gets no other large job of that queue, nor of queues with lower priority.
    """

    held_up: QueueName | None = None

    @classmethod
    def of(cls, owner: str, held_up: bytes, fields: Sequence[Any]) -> Self:
        """Parse the answer of `claim.lua`."""
        claims = cls(_claim(owner, *fields[i : i + CLAIM_FIELDS]) for i in range(0, len(fields), CLAIM_FIELDS))
        claims.held_up = QueueName(held_up.decode()) if held_up else None
        return claims


class Room(NamedTuple):
    """The room for jobs of `queue`: the free slots of its provider and of its lane over all their queues (batch and
    flex count as one lane). One byte of a payload takes `copies` bytes of the worker's memory.
    """

    queue: QueueName
    provider: int
    lane: int
    copies: int = 1


class Memory(NamedTuple):
    """A worker's memory for large payloads: `free` bytes. With `alone`, the worker runs no large job, so one of any
    size may come.
    """

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
