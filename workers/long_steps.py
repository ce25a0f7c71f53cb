"""The long steps of this worker process, on large requests."""

from __future__ import annotations

from shared.runtime.long_steps import LongSteps

LONG_STEPS = LongSteps()
"""A worker has one event loop, and its steps are scattered over what arq and the vendors' clients call."""
