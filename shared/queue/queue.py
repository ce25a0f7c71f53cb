"""The queue: arq's jobs and data format, with leases and fences by our own scripts (`lua/`).

A job waits in `q:<provider>:<lane>`, a sorted set by due time. A claim moves it one lease into the future; renewing moves
it on, and when nobody does, it is due again. Of what is due, accounts take turns (`lua/parts/turns.lua`). `epoch` counts the
claims of a job and `owner` tells them apart: only the newest claim may have effects, also when Redis failed over and forgot
one, so that the next has its number.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Sequence
from typing import NamedTuple

from arq.constants import abort_jobs_ss, in_progress_key_prefix, job_key_prefix, result_key_prefix, retry_key_prefix
from arq.jobs import serialize_job

from shared.errors import Overloaded, RateLimited, RebootError, Unavailable
from shared.job import RUN_REQUEST, Job, Sealed, arq_serializer, pack
from shared.lanes import QueueName, lane_of
from shared.queue.journal import CHANNELS_MAX
from shared.stores import keys
from shared.stores.redis_connections import Word
from shared.stores.scripts import Scripts

EPOCHS_PER_ENQUEUE = 1_000
"""A job that is put back after Redis lost it starts this much higher, so that every claim from before stays fenced."""
TOMBSTONE_MS = 86_400_000
ABORT_LIVE_MS = 3_600_000
CLAIM_WITHIN_MS = 1_000
CLAIM_ATTEMPTS = 3
WAKE_LIVE_MS = 60_000
CLAIM_FIELDS = 7
PAYLOAD_BYTES_MAX = 1_000_000
"""Of all jobs of one claim: beyond it answers to others would wait behind this one."""
LISTEN_LIVE_MS = 600_000
BATCH_KEEP_RUN_MS = 60_000


class Opening(NamedTuple):
    """What arq asks for before it runs a job. `starts` counts them, this one included; `aborted`: somebody asked for that."""

    payload: bytes
    starts: int
    aborted: bool


class Claim(NamedTuple):
    """A job that this worker may run until its lease ends. `due_ms` is what it was queued for, Unix milliseconds.
    `owner` is a word that no other claim has. A payload too large to come with its claim leaves `opening` empty.
    """

    queue: QueueName
    id: str
    epoch: int
    owner: str
    due_ms: int
    opening: Opening | None = None

    @property
    def tries(self) -> int:
        """How often it was claimed since it was enqueued, this time included."""
        return self.epoch % EPOCHS_PER_ENQUEUE


class Room(NamedTuple):
    """What may be claimed from `queue` now: of its provider and of its lane at most so many, over all their queues."""

    queue: QueueName
    provider: int
    lane: int


class RateState(NamedTuple):
    """For the `x-ratelimit-*` headers: what is left of the key's minute, and when it is full again."""

    remaining: int
    reset_s: float


class Queue:
    """Enqueue, claim, renew, finish. Every call raises `Unavailable` when Redis does not answer."""

    def __init__(
        self,
        scripts: Scripts,
        *,
        lease_s: float,
        keep_run_s: float,
        depth_max: int,
        enqueue_within_s: float = 3.0,
        asked_bytes_max: int = 0,
        doubted_after_s: float = 5.0,
    ) -> None:
        self._scripts = scripts
        self._claims = itertools.count(1)
        self._within_ms = int(enqueue_within_s * 1000)
        self._clock_ms: int | None = None
        """How far Redis's clock is ahead of ours, as of the last answer."""
        self._lease_ms = int(lease_s * 1000)
        self._keep_run_ms = int(keep_run_s * 1000)
        self._depth_max = depth_max
        self._asked_bytes_max = asked_bytes_max
        """Payloads up to this are kept for a while when their job is done."""
        self._doubted_after_ms = int(doubted_after_s * 1000)

    async def enqueue(
        self, job: Job, name: QueueName, *, channel: str, key_id: str, rpm: int | None, epoch: int = 0
    ) -> RateState:
        """Put the job into its queue; `epoch` is more than 0 when it is put back after Redis lost it.

        Raises `RateLimited` for the key's own limit, `Overloaded` when too many wait and the account has its share of them;
        then nothing was enqueued. What is put back was admitted before, and is never too much. What reaches Redis so late
        that its caller has given up is refused there.
        """
        now_ms = time.time_ns() // 1_000_000
        payload = serialize_job(RUN_REQUEST, (Sealed(pack(job)),), {}, None, now_ms, serializer=arq_serializer)
        live_ms = max(job.deadline_ms - now_ms, 0) + self._keep_run_ms
        limits = (self._depth_max, rpm or 0, epoch)
        outcome, wait_ms, remaining, reset_ms, redis_ms = await self._scripts.call(
            "enqueue",
            [name, job_key_prefix + job.id, keys.run(job.id), keys.bell(name), keys.rate(key_id), keys.journal(job.id)],
            lambda: [
                *(job.id, payload, live_ms, job.deadline_ms, channel, *limits),
                self._redis_ms_in(self._within_ms),  # when nobody waits for the answer any more
                job.account_id,
            ],
        )
        self._note_clock(redis_ms)
        if outcome != b"ok":
            raise _refusal(outcome, wait_ms)
        return RateState(remaining, reset_ms / 1000)

    async def count(self, request_id: str, *, key_id: str, rpm: int) -> RateState:
        """Count something that is not enqueued against the key's limit, once for each id. Raises `RateLimited`."""
        names = [keys.rate(key_id), keys.rated(request_id)]
        outcome, wait_ms, remaining, reset_ms = await self._scripts.call("rate", names, [rpm])
        if outcome != b"ok":
            raise _refusal(outcome, wait_ms)
        return RateState(remaining, reset_ms / 1000)

    async def claim(self, worker_id: str, rooms: Sequence[Room], jobs_max: int) -> list[Claim]:
        """Take up to `jobs_max` due jobs, in the order of `rooms` and within them; in each queue accounts take turns. What is
        due and stays behind rings for another worker. A claim that reaches Redis late takes none, or it would take over the
        jobs of workers that are alive, for nobody who waits; it is made again.
        """
        limits = [limit for room in rooms for limit in (room.provider, room.lane)]
        # the same when a call is sent again: then nobody heard of the first
        owner = f"{worker_id}.{next(self._claims)}"
        for _ in range(CLAIM_ATTEMPTS):
            not_after_ms = self._redis_ms_in(CLAIM_WITHIN_MS)
            redis_ms, *flat = await self._scripts.call(
                "claim",
                [room.queue for room in rooms],
                [owner, self._lease_ms, jobs_max, not_after_ms, PAYLOAD_BYTES_MAX, *limits],
            )
            self._note_clock(redis_ms)
            if not 0 < not_after_ms < redis_ms:
                return [_claim(owner, *flat[i : i + CLAIM_FIELDS]) for i in range(0, len(flat), CLAIM_FIELDS)]
        raise Unavailable("The queue took too long to hand out jobs.")

    async def wake(self, worker_id: str) -> None:
        """Let that worker, which waits for bells, ask for others."""
        await self._scripts.call("wake", [keys.own_bell(worker_id)], [WAKE_LIVE_MS])

    def is_doubtful(self, claim: Claim) -> bool:
        """Whether the job may have run before, and even have ended, for all that Redis knows: it was there before our
        connection was, lay there for long, was put back or claimed more than once.
        """
        clock_ms = self._clock_ms or 0
        connected_ms = self._scripts.connected_at * 1000 + clock_ms + self._doubted_after_ms
        long_ago_ms = time.time() * 1000 + clock_ms - self._doubted_after_ms
        return claim.epoch > 1 or claim.due_ms < max(connected_ms, long_ago_ms)

    async def renew(self, claims: Sequence[Claim]) -> list[str]:
        """Extend the leases; returns the ids of the claims that are lost."""
        fenced = [value for claim in claims for value in (claim.queue, claim.id, claim.epoch, claim.owner)]
        return [lost.decode() for lost in await self._scripts.call("renew", [], [self._lease_ms, *fenced])]

    async def finish(
        self, claim: Claim, *, result: bytes = b"", result_ms: int = 0, keep_in_progress_ms: int = 0
    ) -> bool:
        """The job is done and leaves the queue; False when the claim was lost. arq keeps `result` for `result_ms`."""
        return await self._end(claim, "done", result, result_ms, keep_in_progress_ms)

    def ending(self, claim: Claim) -> str:
        """What makes the job done together with its request's last event, for `Journal`; a `finish` is not needed then."""
        keep_ms, asked_bytes_max = self._kept(claim)
        return f"{claim.queue} {keep_ms} {asked_bytes_max}"

    async def give_back(self, claim: Claim, *, due_ms: int = 0, keep_in_progress_ms: int = 0) -> bool:
        """The job runs again at `due_ms` (Unix milliseconds, 0 for now), or is thrown away at once when somebody asked to
        cancel it; False when the claim was lost.
        """
        return await self._end(claim, "again", due_ms, 0, keep_in_progress_ms)

    async def bury(self, request_id: str, name: QueueName, *, or_void: bool = True) -> bool:
        """Make sure that a request never runs any more; False when a worker has it, or had it and has not settled yet.
        Then it is void, if `or_void`: it may still end, but it is not charged.
        """
        names = [name, job_key_prefix + request_id, keys.run(request_id), keys.SETTLES]
        arguments: list[Word] = [request_id, TOMBSTONE_MS, "void" if or_void else ""]
        return bool(await self._scripts.call("tombstone", names, arguments))

    async def cancel(self, request_id: str) -> None:
        """Ask whoever runs it, or would run it, to cancel: arq's abort. Deferred, it is due at once."""
        await self._abort(request_id, "")

    async def listen(self, request_id: str, channel: str) -> None:
        """The front door of `channel` has a reader for the request from now on."""
        await self._scripts.call("listen", [keys.run(request_id)], [channel, CHANNELS_MAX, LISTEN_LIVE_MS])

    async def leave(self, request_id: str, channel: str) -> bool:
        """It has none any more; when nobody has one, the request is cancelled. Whether it is."""
        return await self._abort(request_id, channel)

    async def _abort(self, request_id: str, channel: str) -> bool:
        names = [keys.run(request_id), abort_jobs_ss]
        return bool(await self._scripts.call("abort", names, [request_id, ABORT_LIVE_MS, channel]))

    def _redis_ms_in(self, ms: int) -> int:
        """What Redis's clock will show in `ms` milliseconds; 0 as long as it has not answered us yet."""
        return 0 if self._clock_ms is None else time.time_ns() // 1_000_000 + self._clock_ms + ms

    def _note_clock(self, redis_ms: int) -> None:
        self._clock_ms = redis_ms - time.time_ns() // 1_000_000

    async def _end(self, claim: Claim, mode: str, value: bytes | int, result_ms: int, keep_ms: int) -> bool:
        script_keys = [
            claim.queue,
            job_key_prefix + claim.id,
            in_progress_key_prefix + claim.id,
            retry_key_prefix + claim.id,
            abort_jobs_ss,
            result_key_prefix + claim.id,
            keys.run(claim.id),
            keys.bell(claim.queue),
            keys.asked(claim.id),
        ]
        keep_run_ms, asked_bytes_max = self._kept(claim)
        arguments: list[Word] = [claim.id, claim.epoch, mode, value, result_ms, keep_run_ms, keep_ms, asked_bytes_max]
        return bool(await self._scripts.call("finish", script_keys, [*arguments, claim.owner]))

    def _kept(self, claim: Claim) -> tuple[int, int]:
        """For how long what is known of a job that is done is kept, ms, and up to which size its payload is, bytes."""
        if lane_of(claim.queue) == "batch":  # its lines and answers are in Postgres
            return BATCH_KEEP_RUN_MS, 0
        return self._keep_run_ms, self._asked_bytes_max


def _claim(
    owner: str, queue: bytes, job_id: bytes, epoch: int, due: bytes, payload: bytes, starts: int, aborted: int
) -> Claim:
    opening = Opening(payload, starts, bool(aborted)) if payload else None
    return Claim(QueueName(queue.decode()), job_id.decode(), epoch, owner, int(float(due)), opening)


def _refusal(outcome: bytes, wait_ms: int) -> RebootError:
    if outcome in {b"late", b"dead"}:
        return Unavailable("The queue took too long to take the request: try again shortly.")
    if outcome == b"rate":
        return RateLimited(
            "This key's request limit is reached: wait as long as Retry-After says.", retry_after_s=wait_ms / 1000
        )
    return Overloaded("Too many requests are waiting for this model's vendor: try again shortly.")
