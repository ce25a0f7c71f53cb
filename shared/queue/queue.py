"""The queue: arq's jobs and data format, with leases and fences in scripts of our own (`lua/`).

A job waits in `q:<provider>:<lane>`, a sorted set by due time. A claim moves the due time one lease into the future,
and renewing moves it on; if nobody renews, the job is due again. Accounts take turns with their due jobs
(`lua/parts/turns.lua`), and a worker gets what it has memory for. The payloads of a queue are bounded by their bytes
(`lua/parts/payloads.lua`). `epoch` counts the claims of a job. `owner` tells claims apart, even if Redis failed over
and forgot a claim, so that the next claim has the same epoch. Only the newest claim may have effects.
"""

from __future__ import annotations

import itertools
import secrets
import time
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING

from arq.constants import abort_jobs_ss, in_progress_key_prefix, job_key_prefix, result_key_prefix, retry_key_prefix
from arq.jobs import serialize_job

from shared import clock
from shared.errors import Unavailable
from shared.job import RUN_REQUEST, Job, PackedJob, Sealed, arq_serializer, pack
from shared.lanes import QueueName, lane_of, queue_of
from shared.queue.admission import RateState, refusal
from shared.queue.byte_limits import USUAL, ByteLimits, Ending
from shared.queue.claims import PLENTY, Claim, Claims, Memory, Room
from shared.queue.journal import CHANNELS_MAX
from shared.queue.redis_clock import RedisClock
from shared.runtime.long_steps import LONG_FROM_BYTES, Pauses
from shared.stores import keys
from shared.stores.redis_connections import Word
from shared.stores.scripts import Scripts

if TYPE_CHECKING:
    from shared.settings import Settings

TOMBSTONE_MS = 86_400_000
ABORT_LIVE_MS = 3_600_000
CLAIM_WITHIN_MS = 1_000
CLAIM_ATTEMPTS = 3
WAKE_LIVE_MS = 60_000
PIECE_BYTES = 500_000
"""Bytes of a large payload that Redis takes at once; it does nothing else meanwhile."""
PAYLOAD_BYTES_MAX = 1_000_000
"""Payload bytes of all jobs of one claim; more would delay other answers on the same connection."""
LISTEN_LIVE_MS = 600_000
BATCH_RUN_KEPT_S = 60
"""Seconds for which Redis keeps its data about an ended batch line, and the line's journal. A worker that takes over a
lost line needs them; the answer is in Postgres.
"""
NO_CALLS: Mapping[str, str] = MappingProxyType({})


class Queue:
    """Puts jobs into queues, and lets workers claim, renew and finish them. Every call raises `Unavailable` if Redis
    does not answer.
    """

    def __init__(
        self,
        scripts: Scripts,
        *,
        large: Scripts | None = None,
        lease_s: float,
        keep_run_s: float,
        depth_max: int,
        enqueue_within_s: float = 3.0,
        byte_limits: ByteLimits = USUAL,
        doubted_after_s: float = 5.0,
    ) -> None:
        self._scripts = scripts
        self._large = large or scripts
        """A separate connection for large payloads, so that small ones do not wait behind them."""
        self._claims = itertools.count(1)
        self._within_ms = int(enqueue_within_s * 1000)
        self._clock = RedisClock()
        self._lease_ms = int(lease_s * 1000)
        self._keep_run_ms = int(keep_run_s * 1000)
        self._depth_max = depth_max
        self._bytes = byte_limits
        self._doubted_after_ms = int(doubted_after_s * 1000)

    @classmethod
    def of(cls, settings: Settings, scripts: Scripts, *, large: Scripts | None = None) -> Queue:
        """A queue with the limits and times of the settings."""
        return cls(
            scripts,
            large=large,
            lease_s=settings.lease_s,
            keep_run_s=settings.journal_ttl_s,
            depth_max=settings.queue_depth_max,
            enqueue_within_s=settings.redis_timeout_s,
            byte_limits=ByteLimits.of(settings),
            doubted_after_s=settings.doubted_after_s,
        )

    async def enqueue(
        self, job: Job | PackedJob, name: QueueName, *, channel: str, key_id: str, rpm: int | None, epoch: int = 0
    ) -> RateState:
        """Put the job into its queue. `epoch` is greater than 0 if the job is put back after Redis lost it.

        Raises `RateLimited` for the key's own limit; `Overloaded` if too many jobs wait and the account has its share
        of them; `QueueFullOfBytes` if the payloads together are too large and the account has its share of them, or if
        not even the room for newcomers is left. After such an error nothing was enqueued. A job that is put back was
        admitted before and is never refused for these reasons. Redis refuses a call that arrives after its caller has
        given up.
        """
        now_ms = clock.now_ms()
        payload = await _payload_of(job)
        live_ms = max(job.deadline_ms - now_ms, 0) + self._keep_run_ms
        scripts, size = self._scripts_for(payload), len(payload)
        staged: list[str] = []
        payload_or_size: bytes | int = payload
        if size > LONG_FROM_BYTES:
            staged = [await self._stage(scripts, job.id, payload)]
            payload_or_size, payload = size, b""
        own = [job_key_prefix + job.id, keys.run(job.id), keys.bell(name), keys.rate(key_id), keys.journal(job.id)]
        outcome, wait_ms, remaining, reset_ms, redis_ms = await scripts.call(
            "enqueue",
            [name, *own, *staged],
            lambda: [
                *(job.id, payload_or_size, live_ms, job.deadline_ms, channel, self._depth_max, rpm or 0, epoch),
                self._clock.in_ms(self._within_ms),  # the time at which the caller gives up
                *(job.account_id, self._bytes.small, self._bytes.queue, self._bytes.reserve, max(job.footprint, size)),
                *(self._bytes.newcomers, int(bool(job.fallbacks))),
            ],
        )
        self._clock.note(redis_ms)
        if outcome != b"ok":
            raise refusal(outcome, wait_ms)
        return RateState(remaining, reset_ms / 1000)

    async def _stage(self, scripts: Scripts, request_id: str, payload: bytes) -> str:
        """Write a large payload to Redis in pieces, and return its key. Raises `Unavailable`."""
        key = keys.staged(request_id, secrets.token_hex(8))
        for offset in range(0, len(payload), PIECE_BYTES):
            await scripts.call("stage", [key], [offset, payload[offset : offset + PIECE_BYTES], self._within_ms])
        return key

    async def count(self, request_id: str, *, key_id: str, rpm: int) -> RateState:
        """Count something that is not enqueued against the key's limit, once for each id. Raises `RateLimited`."""
        names = [keys.rate(key_id), keys.rated(request_id)]
        outcome, wait_ms, remaining, reset_ms = await self._scripts.call("rate", names, [rpm])
        if outcome != b"ok":
            raise refusal(outcome, wait_ms)
        return RateState(remaining, reset_ms / 1000)

    async def claim(self, worker_id: str, rooms: Sequence[Room], jobs_max: int, memory: Memory = PLENTY) -> Claims:
        """Claim up to `jobs_max` due jobs, in the order of `rooms` and within their limits and `memory`. Accounts take
        turns in each queue. Due jobs that stay behind ring the bell for another worker. A call that reaches Redis late
        claims nothing, because it would take over jobs of living workers for a caller that has given up; it is repeated.
        """
        limits = [limit for room in rooms for limit in (room.provider, room.lane, room.copies)]
        of_worker = (worker_id, self._bytes.small, max(0, memory.free), int(memory.alone))
        # all attempts have one owner: a late one claims nothing, and jobs of one whose answer was lost are left alone until
        # their leases lapse
        owner = f"{worker_id}.{next(self._claims)}"
        for _ in range(CLAIM_ATTEMPTS):
            not_after_ms = self._clock.in_ms(CLAIM_WITHIN_MS)
            redis_ms, held_up, *flat = await self._scripts.call(
                "claim",
                [room.queue for room in rooms],
                [owner, self._lease_ms, jobs_max, not_after_ms, PAYLOAD_BYTES_MAX, *of_worker, *limits],
            )
            self._clock.note(redis_ms)
            was_late = 0 < not_after_ms < redis_ms  # then nothing was claimed, whatever is due
            if not was_late:
                return Claims.of(owner, held_up, flat)
        raise Unavailable("The queue took too long to hand out jobs.")

    async def wake(self, worker_id: str) -> None:
        """Make that worker, which waits for bells, choose its bells anew."""
        await self._scripts.call("wake", [keys.own_bell(worker_id)], [WAKE_LIVE_MS])

    def is_doubtful(self, claim: Claim) -> bool:
        """True if the job may have run before, and may even have ended, although Redis does not know it: the job is older
        than our connection, has waited long, was put back, or was claimed before.
        """
        ahead_ms = self._clock.ahead_ms or 0
        connected_ms = self._scripts.connected_at * 1000 + ahead_ms + self._doubted_after_ms
        long_ago_ms = time.time() * 1000 + ahead_ms - self._doubted_after_ms
        return claim.epoch > 1 or claim.due_ms < max(connected_ms, long_ago_ms)

    async def renew(self, claims: Sequence[Claim], calls: Mapping[str, str] = NO_CALLS) -> list[str]:
        """Extend the leases, and return the ids of the claims that are lost. `calls` has, by claim, the vendor calls
        that are under way, for a worker that takes the claim over.
        """
        words: list[Word] = [self._lease_ms]
        for claim in claims:
            words += claim.queue, claim.id, claim.epoch, claim.owner, calls.get(claim.id, "")
        return [lost.decode() for lost in await self._scripts.call("renew", [], words)]

    async def finish(
        self, claim: Claim, *, result: bytes = b"", result_ms: int = 0, keep_in_progress_ms: int = 0
    ) -> bool:
        """End the job: it leaves the queue. False if the claim was lost. arq keeps `result` for `result_ms`."""
        return await self._end(claim, "done", result, result_ms, keep_in_progress_ms)

    def ending(self, claim: Claim, *, of_batch: bool = False) -> Ending:
        """The instructions with which `append.lua` ends the job together with its request's last event, so that no
        `finish` is needed. Nothing is kept for long of a job that is `of_batch`: its line and its answer are in
        Postgres.
        """
        of_batch = of_batch or _takes_only_lines(claim)
        asked, keep_ms = (0, 1000 * BATCH_RUN_KEPT_S) if of_batch else (self._bytes.asked, self._keep_run_ms)
        return Ending(claim.queue, keep_ms, asked, self._bytes.kept, self._bytes.readers_ms)

    async def move(self, claim: Claim, job: Job, *, calls: int, lost: bytes = b"") -> bool:
        """Put the job, changed to `job`, into the queue of its present model's provider; the claim has no effect any
        more. False if the claim was lost. `calls` is the number of vendor calls so far; `lost` are packed calls that
        nobody is charged for, for the worker that goes on.
        """
        return await self._move(claim.queue, job, (claim.epoch, claim.owner), calls, lost)

    async def pass_on(self, name: QueueName, job: Job, epoch: int, *, calls: int, lost: bytes = b"") -> bool:
        """Like `move`, for a job that waits in the queue `name` and that no worker has claimed. Returns False when it was
        claimed after that epoch, or does not wait there any more.
        """
        return await self._move(name, job, (epoch, ""), calls, lost)

    async def _move(self, before: QueueName, job: Job, by: tuple[int, str], calls: int, lost: bytes) -> bool:
        name = queue_of(job.model.provider, lane_of(before))
        payload = await _payload_of(job)
        names = [
            before,
            job_key_prefix + job.id,
            in_progress_key_prefix + job.id,
            retry_key_prefix + job.id,
            keys.run(job.id),
            name,
            keys.bell(name),
        ]
        words: list[Word] = [job.id, *by, payload, calls, lost, self._bytes.small, job.footprint]
        return bool(await self._scripts_for(payload).call("move", names, [*words, int(bool(job.fallbacks))]))

    async def give_back(self, claim: Claim, *, due_ms: int = 0, keep_in_progress_ms: int = 0) -> bool:
        """Make the job due at `due_ms` (Unix milliseconds, 0 for now), or drop it at once if somebody asked to cancel it.
        False if the claim was lost.
        """
        return await self._end(claim, "again", due_ms, 0, keep_in_progress_ms)

    async def bury(self, request_id: str, name: QueueName, *, or_void: bool = True) -> bool:
        """Make sure that a request never runs any more. False if a worker has it, or had it and has not settled it; then,
        with `or_void`, the request becomes void: it may still end, but it is not charged.
        """
        names = [name, job_key_prefix + request_id, keys.run(request_id), keys.SETTLES]
        arguments: list[Word] = [request_id, TOMBSTONE_MS, "void" if or_void else ""]
        return bool(await self._scripts.call("tombstone", names, arguments))

    async def cancel(self, request_id: str) -> None:
        """Ask the worker that runs, or will run, the request to cancel it (arq's abort). A deferred job becomes due at
        once.
        """
        await self._abort(request_id, "")

    async def listen(self, request_id: str, channel: str) -> None:
        """Register a reader of the request at the front door with this `channel`."""
        await self._scripts.call("listen", [keys.run(request_id)], [channel, CHANNELS_MAX, LISTEN_LIVE_MS])

    async def leave(self, request_id: str, channel: str) -> bool:
        """Unregister the front door's last reader. If no front door has a reader left, the request is cancelled; True in
        that case.
        """
        return await self._abort(request_id, channel)

    async def _abort(self, request_id: str, channel: str) -> bool:
        names = [keys.run(request_id), abort_jobs_ss]
        return bool(await self._scripts.call("abort", names, [request_id, ABORT_LIVE_MS, channel]))

    def _scripts_for(self, payload: bytes) -> Scripts:
        return self._large if len(payload) > self._bytes.small else self._scripts

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
        ]
        arguments: list[Word] = [claim.id, claim.epoch, mode, value, result_ms, self._keep_ms(claim), keep_ms]
        return bool(await self._scripts.call("finish", script_keys, [*arguments, claim.owner]))

    def _keep_ms(self, claim: Claim) -> int:
        """Milliseconds for which the data about an ended job is kept."""
        return 1000 * BATCH_RUN_KEPT_S if _takes_only_lines(claim) else self._keep_run_ms


async def _payload_of(job: Job | PackedJob) -> bytes:
    pace = Pauses(pauses=job.footprint >= LONG_FROM_BYTES)
    sealed = Sealed(pack(job))
    await pace.pause()
    payload = serialize_job(RUN_REQUEST, (sealed,), {}, None, clock.now_ms(), serializer=arq_serializer)
    del sealed
    await pace.pause()
    return payload


def _takes_only_lines(claim: Claim) -> bool:
    """True if all jobs of the claim's queue are lines of batches. The lane `flex` has single requests, too, so the run hash
    of a line there that ends without an event is kept as long as that of a single request.
    """
    return lane_of(claim.queue) == "batch"
