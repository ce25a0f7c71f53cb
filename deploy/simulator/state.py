"""The memory of one simulator process: the default script, plans, spent faults, gates, the vendors' caches of prompts,
and the log of calls.
"""

from __future__ import annotations

import asyncio
from collections.abc import MutableMapping, Sequence
from typing import Any

import msgspec
from aiohttp import web

from deploy.simulator import script as scripts
from deploy.simulator.caching import PromptCache
from deploy.simulator.calls import CallLog
from deploy.simulator.plans import Plan, Plans, Turn
from deploy.simulator.script import Said, Script
from deploy.simulator.upstreams import Upstreams

KEYS_MAX = 100_000


class Directions(msgspec.Struct, frozen=True):
    """The directions for one call: its script, and its turn of the script's plan; None without a plan or after its last
    turn.
    """

    script: Script
    turn: Turn | None = None


class Simulator:
    """The shared state behind every endpoint."""

    def __init__(self, defaults: Script, plans: tuple[Plan, ...] = ()) -> None:
        self.calls = CallLog()
        self.plans = Plans(plans)
        self.cache = PromptCache()
        self.upstreams = Upstreams()
        self.defaults = defaults
        self._first_defaults = defaults
        self._spent: dict[str, int] = {}
        self._full: dict[str, int] = {}
        self._gates: dict[str, asyncio.Event] = {}

    def directions_for(self, talk: Sequence[Said], *, parallel: bool = True, befalls: str = "") -> Directions:
        """The directions for a call; a fault with `times` is counted here. The script of a fault (`befalls`) overrides
        the call's own. Raises `ScriptError`.
        """
        script, number = scripts.from_talk(talk, self.defaults)
        turn = self.plans.turn(script.plan, number, parallel=parallel)
        script = self._unspent(script)
        return Directions(scripts.overlay(befalls, script) if befalls else script, turn)

    def is_full(self, script: Script) -> bool:
        """True if the call is one of the first of its key that find no capacity at their service tier."""
        refused = self._full.get(script.key, 0)
        if refused >= script.full:
            return False
        self._full[script.key] = refused + 1
        _bound(self._full)
        return True

    def set_defaults(self, given: dict[str, object]) -> Script:
        """Lay values over the defaults of the process and start counting faults anew; nothing given restores them."""
        self.defaults = scripts.merge(given, self._first_defaults)
        self._spent.clear()
        self._full.clear()
        return self.defaults

    async def pass_gate(self, key: str) -> None:
        """Wait until the key is released; released once, it stays open."""
        await self._gate(key).wait()

    def release(self, key: str) -> None:
        """Open the gate of a key."""
        self._gate(key).set()

    def reset(self) -> None:
        """Forget calls, spent faults, gates, caches and upstreams' faults; restore the defaults and plans of the process."""
        self.calls.reset()
        self.plans.reset()
        self.cache.forget()
        self.upstreams.clear()
        self._gates.clear()
        self.set_defaults({})

    def _unspent(self, script: Script) -> Script:
        if not script.times or not script.misbehaves:
            return script
        spent = self._spent.get(script.key, 0)
        if spent >= script.times:
            return script.behaved()
        self._spent[script.key] = spent + 1
        _bound(self._spent)
        return script

    def _gate(self, key: str) -> asyncio.Event:
        gate = self._gates.setdefault(key, asyncio.Event())
        _bound(self._gates)
        return gate


SIMULATOR = web.AppKey("simulator", Simulator)


def _bound(remembered: MutableMapping[str, Any]) -> None:
    """Forget the oldest keys beyond the limit."""
    while len(remembered) > KEYS_MAX:
        del remembered[next(iter(remembered))]
