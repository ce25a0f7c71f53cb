"""The lease of one run of a job: everything that a worker remembers of the run stands in it."""

from __future__ import annotations

from contextvars import ContextVar
from typing import Literal

from shared.queue.claims import Claim

CancelReason = Literal["lost", "drain", "abort"]


class Lease:
    """The worker's loop makes one for each claim, and whoever runs the job may change it. After a run has given its job away,
    this worker may have claimed the same job again: that is another lease.
    """

    def __init__(self, claim: Claim) -> None:
        self.claim = claim
        self.has_begun = False
        """False while an earlier run of the same job has a few steps to go."""
        self.is_held = True
        """False as soon as there is nothing left to renew or to finish."""
        self.cancelled_for: CancelReason | None = None
        self.is_unstoppable = False
        """An abort must not cancel the run, because it would be paid for all the same."""
        self.vendor_call = ""
        """The call that a vendor has now: renewals tell of it, in case that this worker is lost."""
        self.is_writing_end = False
        """The last event of the job's request is on its way: with it the job is done. If it is lost, that says so itself."""

    @property
    def job_id(self) -> str:
        """The id of the request, too."""
        return self.claim.id

    def end(self) -> None:
        """There is nothing left to renew or to finish."""
        self.is_held = False


_own: ContextVar[Lease] = ContextVar("own lease")


def run_under(lease: Lease) -> None:
    """The task that asks runs this lease's job, and so do the tasks that it makes."""
    _own.set(lease)


def own_lease() -> Lease:
    """The lease of the run that asks."""
    return _own.get()
