"""The long steps on large requests in this worker process."""

from __future__ import annotations

from shared.runtime.long_steps import LongSteps

LONG_STEPS = LongSteps()
"""The long steps of this process. There is one object, because a worker has one event loop, and arq and the vendors'
clients call code in many places.
"""
