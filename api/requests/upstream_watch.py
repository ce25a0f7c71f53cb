"""The states of upstreams that a front door knows: whether a model can be called now, and otherwise from when on."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import structlog

from shared.catalogue.upstreams import pace_name
from shared.errors import Unavailable
from shared.queue.upstreams import Known, UpstreamReport, why_none_is_available

if TYPE_CHECKING:
    from collections.abc import Sequence

    from shared.catalogue.models import Model
    from shared.catalogue.upstreams import Upstreams
    from shared.queue.heartbeat import Heartbeat
    from shared.queue.upstreams import UpstreamStates

log = structlog.get_logger(__name__)


class UpstreamWatch:
    """States of upstreams, read again with the heartbeats. While Redis is away, the last known state stays."""

    def __init__(self, shared: UpstreamStates, upstreams: Upstreams) -> None:
        self._shared = shared
        self._upstreams = upstreams
        self._known = Known({}, {})
        self._read_at = 0.0
        self._drained: set[str] = set()

    async def read(self, workers: Sequence[Heartbeat]) -> None:
        """Read the states of the upstreams that workers hold."""
        names = sorted({name for worker in workers for name in worker.upstreams})
        self._drained = {name for worker in workers for name in worker.drained}
        try:
            self._known = await self._shared.exchange([UpstreamReport(name) for name in names])
            self._read_at = time.monotonic()
        except Unavailable as error:
            log.warning("states of upstreams not read", reason=error.message)

    def unavailable_for_s(self, model: Model) -> float:
        """Seconds until one of the model's upstreams may be called; 0 if one may be called now, or if none is known."""
        waits = [
            self._waits_s(name, pace_name(name, model.name, model.service_tier))
            for upstream in self._upstreams.of(model)
            if (name := upstream.name) in self._known.states
        ]
        return min(waits, default=0.0)

    def why_unavailable(self, model: Model) -> str:
        """The reason for which no upstream of the model may be called, in words for callers."""
        known = [self._known.states.get(upstream.name) for upstream in self._upstreams.of(model)]
        return why_none_is_available([state for state in known if state], self._drained)

    def _waits_s(self, name: str, pace: str) -> float:
        state = self._known.states[name]
        if name in self._drained:
            return float("inf")
        wait_s = max(state.wait_s if state.state == "open" else 0.0, self._known.cooling.get(pace, 0.0))
        return max(0.0, self._read_at + wait_s - time.monotonic()) if wait_s else 0.0
