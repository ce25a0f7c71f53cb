"""The retry policy: whether a model is called again for the same request after a failure, and how long the request waits
before. A call at another upstream, and one without the thoughts that a vendor refuses, follow at once (`next_call.py`,
`vendor_calls.py`).
"""

from __future__ import annotations

import math
import random
from typing import TYPE_CHECKING

from shared import clock
from shared.errors import ProviderBusy, RebootError
from workers.providers.wire.vendor_errors import Throttled

if TYPE_CHECKING:
    from shared.job import Job
    from shared.settings import Settings
    from workers.request.billing import Received

DOUBLINGS_MAX = 30


def is_flex(job: Job) -> bool:
    """True if the request was sold at the tier flex, at which vendors promise no capacity."""
    return job.model.service_tier == "flex"


def waits_for_capacity(job: Job, error: RebootError) -> bool:
    """True if the call was refused only for now, so that it does not count as a failed try. At the tier flex a refusal
    for lack of capacity is such a case until the deadline. At other tiers it is one if the vendor says how long to wait.
    """
    return isinstance(error, ProviderBusy) and (is_flex(job) or error.asked_wait_s is not None)


class Retries:
    """The policy for one attempt, whose calls `received` counts."""

    def __init__(self, job: Job, received: Received, settings: Settings) -> None:
        self._job = job
        self._received = received
        self._settings = settings
        self.is_patient = is_flex(job) or (job.batch_line is not None and not job.fallbacks)
        """True if the request waits for capacity until its deadline."""

    @property
    def age_s(self) -> float:
        """Seconds since the request came."""
        return clock.now_s() - self._job.created_at.timestamp()

    @property
    def is_throttled_for_good(self) -> bool:
        """True if the request has waited for upstreams that throttle as long as it may."""
        return not self.is_patient and self.age_s > self._settings.upstream_throttled_s

    def may_call_again(self) -> bool:
        """True if another round is allowed."""
        return self._rounds() < self._rounds_max()

    def delay_after(self, error: RebootError, *, is_repeat: bool = False) -> float | None:
        """Seconds to wait before the next call, or None to give up. If a vendor throttles a call that `is_repeat`, other
        requests go on, and this one waits by itself.
        """
        left_s = self._job.left_s()
        if waits_for_capacity(self._job, error):
            if self.is_throttled_for_good:
                return None
            refused = self._received.refused
            alone = is_repeat and isinstance(error, Throttled)
            return delay_before_retry(error, self._settings, calls=refused, calls_max=None, left_s=left_s, alone=alone)
        calls, calls_max = self._rounds(), self._rounds_max()
        return delay_before_retry(error, self._settings, calls=calls, calls_max=calls_max, left_s=left_s)

    def _rounds(self) -> int:
        """The number of completed rounds. In a round each available upstream is called once. Refusals for lack of
        capacity, and calls of other models, are not counted.
        """
        received = self._received
        return received.calls - received.refused - received.rerouted - self._job.calls_before

    def _rounds_max(self) -> int:
        batch = self._job.batch_line is not None  # nobody waits for a batch line
        return (self._settings.batch_retries_max if batch else self._settings.vendor_retries_max) + 1


def backoff_s(settings: Settings, failures: int) -> float:
    """Seconds that double with each failure, up to `RETRY_DELAY_MAX_S`."""
    return min(math.ldexp(settings.retry_delay_s, min(failures - 1, DOUBLINGS_MAX)), settings.retry_delay_max_s)


def delay_before_retry(
    error: RebootError,
    settings: Settings,
    *,
    calls: int,
    calls_max: int | None,
    left_s: float,
    alone: bool = False,
) -> float | None:
    """Seconds to wait before call number `calls + 1`, or None to give up. Ask this only as long as nothing has reached
    the caller.

    Without `calls_max` the deadline decides, until which `left_s` are left; the last calls then come closer together.
    If a vendor asks for a longer wait than `left_s`, the request gives up. The wait is exponential with full jitter, or
    0 if the vendor named a time, because the upstream takes no call before that time. If the request waits `alone`, its
    wait is the longer of the two.
    """
    if not error.retryable or (calls_max is not None and calls >= calls_max):
        return None
    backoff = backoff_s(settings, calls)
    asked_s = error.asked_wait_s
    if asked_s is not None and not alone:
        return 0.0 if asked_s < left_s else None
    delay = max(asked_s or 0.0, random.uniform(backoff / 2, backoff))  # noqa: S311 - spreads load, guards nothing
    if asked_s is None and calls_max is None and left_s > settings.retry_delay_s:
        delay = min(delay, left_s / 2)
    return delay if delay < left_s else None
