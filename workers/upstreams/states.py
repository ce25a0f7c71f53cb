"""The states of this worker's upstreams: a copy of the states that all workers share, and the reports to them.

The copy is at most `REFRESH_S` old. So a call asks Redis only if its upstream is recovering: such an upstream takes few
calls at once, and each needs a permit.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import structlog

from shared.errors import Unavailable
from shared.ids import new_id
from shared.queue.upstreams import Known, Outcome, StateName, UpstreamReport, UpstreamState, why_none_is_available
from shared.runtime.metrics import UPSTREAM_STATE

if TYPE_CHECKING:
    from shared.queue.upstreams import UpstreamStates

log = structlog.get_logger(__name__)
REPORT_S, REFRESH_S = 0.25, 1.0
ASK_AGAIN_S = 0.25
"""Seconds after which a refused permit is asked for again."""
NEVER_S = float("inf")
GAUGE: dict[StateName, int] = {"closed": 0, "rising": 1, "half open": 2, "open": 3}
DRAINED = 4
ALERTING = {"credentials": "vendor refuses the operator's credentials", "credit": "the operator's credit is used up"}
URGENT = frozenset("fcx")


class Copy(NamedTuple):
    """A state, and the monotonic time from which on the breaker is half open."""

    state: UpstreamState
    opens_at: float = 0.0


class States:
    """The states and the reports of one worker. The owner runs `run` as a task, which reports and reads."""

    def __init__(self, names: Sequence[str], shared: UpstreamStates) -> None:
        self._names = names
        self._shared = shared
        self._copies = {name: Copy(UpstreamState(name=name)) for name in names}
        self._cooling: dict[str, float] = {}
        self._outcomes: defaultdict[tuple[str, int], list[Outcome]] = defaultdict(list)
        self._permits: defaultdict[str, set[str]] = defaultdict(set)
        self._released: defaultdict[str, list[str]] = defaultdict(list)
        self._refused_until: dict[str, float] = {}
        self.drained: frozenset[str] = frozenset()
        """Upstreams that an operator has drained; running calls go on."""
        self._urgent = asyncio.Event()

    def term(self, name: str) -> int:
        """The term with which an outcome is reported: the one at the beginning of the call."""
        return self._copies[name].state.term

    def state(self, name: str) -> StateName:
        """The upstream's state in the copy."""
        copy = self._copies[name]
        if copy.state.state == "open" and time.monotonic() >= copy.opens_at:
            return "half open"
        return copy.state.state

    def why_none_is_available(self, names: Sequence[str]) -> str:
        """The reason for which none of the upstreams is open, in words for callers."""
        return why_none_is_available([self._copies[name].state for name in names if name in self._copies], self.drained)

    def unavailable_for_s(self, name: str) -> float:
        """Seconds until the upstream takes calls again; infinite while it is drained."""
        copy = self._copies.get(name)
        if copy is None:
            return 0.0
        if name in self.drained:
            return NEVER_S
        until = max(copy.opens_at if copy.state.state == "open" else 0.0, self._refused_until.get(name, 0.0))
        return max(0.0, until - time.monotonic())

    def cools_for(self, pace_name: str) -> float:
        """Seconds for which the vendor wants no calls of the model."""
        if not self._cooling:
            return 0.0
        return max(0.0, self._cooling.get(pace_name, 0.0) - time.monotonic())

    def cool(self, pace_name: str, wait_s: float) -> None:
        """Note a cooling time. It holds in this process at once; other workers learn of it by the pace."""
        self._cooling[pace_name] = max(self._cooling.get(pace_name, 0.0), time.monotonic() + wait_s)

    def told(self, name: str, term: int, outcome: Outcome) -> None:
        """Note the outcome of a call; failures are reported at once."""
        self._outcomes[name, term].append(outcome)
        if outcome in URGENT:
            self._urgent.set()

    async def take(self, name: str) -> str | None:
        """A permit for a call to a recovering upstream; "" if none is needed any more, None if none is free."""
        permit = new_id("permit")
        try:
            known = await self._shared.exchange([UpstreamReport(name, wanted=permit)])
        except Unavailable:
            return None
        self._learn(known)
        state = known.states[name]
        if not state.permitted:
            self._refused_until[name] = time.monotonic() + ASK_AGAIN_S
            return None
        if state.state == "closed":
            return ""
        self._permits[name].add(permit)
        return permit

    async def is_any_available(self, places: Mapping[str, str]) -> bool:
        """True if one of these upstreams, given with their pace names, takes calls now; this worker need not hold it.
        False while Redis is away.
        """
        names = set(places.values()) - self.drained
        if not names:
            return False
        try:
            known = await self._shared.exchange([UpstreamReport(name) for name in names])
        except Unavailable:
            return False
        well = {name for name, state in known.states.items() if state.state in {"closed", "rising"}}
        return any(name in well and pace_name not in known.cooling for pace_name, name in places.items())

    def release(self, name: str, permit: str) -> None:
        """Give the permit back, because the call has its first byte, or has ended."""
        if permit in self._permits[name]:
            self._permits[name].remove(permit)
            self._released[name].append(permit)
            self._urgent.set()

    async def run(self) -> None:
        """Report and read until cancelled."""
        heard_at = 0.0
        while True:
            if self._outcomes or self._released or time.monotonic() - heard_at >= REFRESH_S:
                await self.exchange()
                heard_at = time.monotonic()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(REPORT_S):
                    await self._urgent.wait()

    async def exchange(self) -> None:
        """Report and read once. While Redis is away nothing is read, and the reports are dropped."""
        self._urgent.clear()
        outcomes, self._outcomes = self._outcomes, defaultdict(list)
        released, self._released = self._released, defaultdict(list)
        terms = {name: max((term for one, term in outcomes if one == name), default=0) for name in self._names}
        earlier = [UpstreamReport(*of, "".join(told)) for of, told in outcomes.items() if of[1] != terms[of[0]]]
        now = [
            UpstreamReport(
                name,
                term,
                "".join(outcomes.get((name, term), ())),
                released=" ".join(released.get(name, ())),
                kept=" ".join(self._permits.get(name, ())),
            )
            for name, term in terms.items()
        ]
        try:
            self._learn(await self._shared.exchange([*earlier, *now]))
        except Unavailable as error:
            log.info("states of upstreams not exchanged", reason=error.message)

    def _learn(self, known: Known) -> None:
        now = time.monotonic()
        for state in known.states.values():
            self._tell_of(state)
            self._copies[state.name] = Copy(state, now + state.wait_s)
            UPSTREAM_STATE.labels(state.name).set(DRAINED if state.name in self.drained else GAUGE[state.state])
        still = {name: until for name, until in self._cooling.items() if until > now}
        told = {name: now + wait_s for name, wait_s in known.cooling.items()}
        self._cooling = {name: max(still.get(name, 0.0), told.get(name, 0.0)) for name in still | told}

    def _tell_of(self, state: UpstreamState) -> None:
        """Log each change that this worker's report caused, with an alert if only an operator can help."""
        reason = self._copies[state.name].state.reason
        for entered in state.entered:
            facts = {"upstream": state.name, "state": entered, "reason": state.reason, "wait_s": round(state.wait_s, 1)}
            if entered == "open" and state.reason in ALERTING and reason != state.reason:
                log.error(ALERTING[state.reason], alert=True, **facts)
            else:
                log.warning("upstream changed", **facts)
