"""The lease of one run of a job, with everything that a worker remembers about the run."""

from __future__ import annotations

from contextvars import ContextVar
from typing import Literal

from shared.queue.claims import Claim

CancelReason = Literal["lost", "drain", "abort"]


class Lease:
    """One run's lease. The worker's loop creates one for each claim; the code that runs the job may change it. If a run
    gives its job away and this worker claims the job again, that claim has another lease.
    """

    def __init__(self, claim: Claim) -> None:
        self.claim = claim
        self.has_begun = False
        """False while an earlier run of the same job is still ending."""
        self.is_held = True
        """False once there is nothing left to renew or to finish."""
        self.cancelled_for: CancelReason | None = None
        self.is_unstoppable = False
        """True if an abort must not cancel the run, because the run would be paid for nevertheless."""
        self.vendor_call = ""
        """The call that a vendor has now; renewals store it in Redis, for the case that this worker dies."""
        self.told_call = ""
        """The last call that was stored in Redis."""
        self.is_writing_end = False
        """True while the request's last event, which also ends the job, is being written; that write reports a lost
        lease.
        """

    @property
    def job_id(self) -> str:
        """The job's id, which is also the request's."""
        return self.claim.id

    @property
    def has_new_call(self) -> bool:
        """True if a vendor has a call that is not stored in Redis yet."""
        return bool(self.vendor_call) and self.vendor_call != self.told_call

    def end(self) -> None:
        """End the lease: nothing is left to renew or to finish."""
        self.is_held = False


_own: ContextVar[Lease] = ContextVar("own lease")


def run_under(lease: Lease) -> None:
    """Make this the lease of the current task and of tasks that it creates."""
    _own.set(lease)


def own_lease() -> Lease:
    """The lease of the current task."""
    return _own.get()
