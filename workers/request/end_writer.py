"""Ends a request exactly once: its last event and its settle record are written in one step, under the claim's
fence.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING

import structlog

from shared import clock
from shared.errors import Cancelled, Unavailable
from shared.queue.journal import LeaseLost, RequestVoid
from workers.request.billing import failed, succeeded, void
from workers.request.reporting import alert_operator, report_end

if TYPE_CHECKING:
    from shared.errors import RebootError
    from shared.job import Done, Failed, Job
    from shared.ledger.settlement import Settlement
    from shared.ledger.settler import Settler
    from workers.loop.lease import Lease
    from workers.request.billing import Received
    from workers.request.joined_parts import WholeAnswer
    from workers.request.journal_writer import JournalWriter

log = structlog.get_logger(__name__)


class EndNotWritten(LeaseLost):
    """Redis did not take the request's end. The lease is left to lapse, and the worker that takes the job over ends the
    request.
    """


class EndWriter:
    """Writes the end of one attempt's request, from what was `received` and from the `answer`. Every method raises
    `LeaseLost` if the request is another worker's now, or if Redis stays away.
    """

    def __init__(
        self,
        job: Job,
        lease: Lease,
        writer: JournalWriter,
        settler: Settler,
        *,
        received: Received,
        answer: WholeAnswer,
        asked_bytes_max: int,
    ) -> None:
        """Messages of at most `asked_bytes_max` are kept with the answer."""
        self._job = job
        self._lease = lease
        self._writer = writer
        self._settler = settler
        self._received = received
        self._answer = answer
        self._asked_bytes_max = asked_bytes_max
        self._started = time.monotonic()

    async def succeeded(self, reason: str) -> None:
        """End the request with its answer; `reason` is the finish reason."""
        kept = {"asked_bytes_max": self._asked_bytes_max}
        await self._end(*succeeded(self._job, self._received, reason, self._answer.parts, clock.utc_now(), **kept))

    async def failed(self, error: RebootError) -> None:
        """End the request with an error."""
        alert_operator(self._job, error)
        await self._end(*self._failed(error))

    async def cancelled(self) -> None:
        """End the request because its caller does not want it any more."""
        await self._end(*self._failed(Cancelled("The request was cancelled."), cancelled=True))

    def _failed(self, error: RebootError, *, cancelled: bool = False) -> tuple[Failed, Settlement]:
        return failed(
            self._job,
            self._received,
            error,
            clock.utc_now(),
            cancelled=cancelled,
            answer=self._answer.parts,
            asked_bytes_max=self._asked_bytes_max,
        )

    async def _end(self, event: Done | Failed, settlement: Settlement) -> None:
        self._lease.is_writing_end = True
        writing = asyncio.ensure_future(self._write(event, settlement))
        while not writing.done():
            with contextlib.suppress(asyncio.CancelledError):  # finish writing an end that has begun
                await asyncio.wait({writing})
        report_end(self._job, *writing.result(), time.monotonic() - self._started)

    async def _write(self, event: Done | Failed, settlement: Settlement) -> tuple[Done | Failed, Settlement]:
        """Write the end, make sure that it is settled, and return it; a void request has another one. Raises `LeaseLost`."""
        try:
            event, settlement = await self._journal(event, settlement)
        except LeaseLost:
            raise
        except Exception as error:
            reason = error.message if isinstance(error, Unavailable) else type(error).__name__
            log.warning("end not journaled", reason=reason)
            raise EndNotWritten(self._job.id) from error
        self._lease.end()
        self._settler.settle_soon(settlement)
        return event, settlement

    async def _journal(self, event: Done | Failed, settlement: Settlement) -> tuple[Done | Failed, Settlement]:
        try:
            await self._writer.end(event, settlement)
        except RequestVoid:
            event, settlement = void(self._job, self._received, clock.utc_now())
            await self._writer.end(event, settlement)
        return event, settlement
