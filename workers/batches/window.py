"""Computes how many lines of a batch may be fed now: the window of its feed, and what its next line waits for."""

from __future__ import annotations

import time
from collections import Counter
from enum import Enum, auto
from typing import TYPE_CHECKING, NamedTuple

from shared.batches.queries import BATCHES
from shared.catalogue.upstreams import pace_name
from shared.lanes import Feed, fed_queue, lane_of, queue_of, tier_of
from shared.money import divide_up
from shared.queue.heartbeat import Heartbeat, living_workers, serve, takers_of
from shared.vendors import PROVIDERS
from workers.batches.shares import Running
from workers.batches.turns import remember
from workers.upstreams.paces import Pace, Paces

if TYPE_CHECKING:
    from collections.abc import Sequence

    import redis.asyncio

    from shared.catalogue.models import Catalogue, Model
    from shared.settings import Settings
    from shared.stores.postgres import Connection
    from workers.batches.cursors import Cursor


class Window(NamedTuple):
    """The lines of one feed that are under way, and the number and the bytes of lines that may be added."""

    free: int
    free_bytes: int
    running: Running
    workers: list[Heartbeat]
    is_served: bool
    """True if a worker takes jobs of the feed's own queue."""
    paces: dict[str, Pace]
    """The paces of the models that were asked for."""


class MayFeed(NamedTuple):
    """The number of lines that may be fed now. If it is 0, `soon` says whether there is room for a line when something
    under way ends.
    """

    lines: int
    soon: bool


class WaitsFor(NamedTuple):
    """The condition for which the next line of a batch waits: a call of `model`, or, if that is None, credit or room of its
    account, or just a later look.
    """

    model: str | None = None


class Deferred(NamedTuple):
    """A batch that is not fed until its condition may have changed. Its account had `running` lines under way at the
    monotonic time `at`.
    """

    waits_for: WaitsFor
    running: int
    at: float


class Wait(Enum):
    """How long the next line of a batch waits, as far as is known without reading the batch's lines, which may be large."""

    NOT_AT_ALL = auto()
    FOR_AN_END = auto()
    """There may be room for it when something under way ends."""
    LONGER = auto()


class FeedWindow:
    """The windows for the batches of one feed."""

    def __init__(
        self, feed: Feed, client: redis.asyncio.Redis, paces: Paces, catalogue: Catalogue, settings: Settings
    ) -> None:
        self._feed = feed
        self._catalogue = catalogue
        self._queue = fed_queue(feed)
        self._client = client
        self._paces = paces
        self._settings = settings
        self._deferred: dict[str, Deferred] = {}
        """By the id of a batch. A batch whose entry is forgotten is simply read again."""

    async def window(self, connection: Connection, *, is_paused: bool = False) -> Window:
        """The present window. If no worker takes jobs of the feed's queue, for example because its provider `is_paused`,
        only fallback models can run lines, and the slots of their workers count. Raises asyncpg's and redis-py's errors.
        """
        workers = await living_workers(self._client)
        own = [] if is_paused else takers_of(workers, self._queue)
        size = self._size(own or self._takers_elsewhere(workers))
        running = Running(Counter(), Counter(), Counter())
        used_bytes = 0
        for row in await connection.fetch(BATCHES["running"], self._feed):
            running.accounts[row["account_id"]] += row["items"]
            running.batches[row["batch_id"]] += row["items"]
            running.models[row["model"]] += row["items"]
            used_bytes += row["bytes"]
        free = max(0, size - running.accounts.total())
        return Window(
            free, max(0, self._settings.batch_window_bytes_max - used_bytes), running, workers, bool(own), paces={}
        )

    def _takers_elsewhere(self, workers: list[Heartbeat]) -> list[Heartbeat]:
        """The workers that take jobs of the other providers' queues in this lane."""
        others = (queue_of(provider, lane_of(self._queue)) for provider in PROVIDERS)
        found = {one.id: one for queue in others if queue != self._queue for one in takers_of(workers, queue)}
        return list(found.values())

    def _size(self, takers: list[Heartbeat]) -> int:
        """The most lines that may be under way, for the slots of these workers."""
        settings = self._settings
        slots = sum(one.slots for one in takers)
        if tier_of(self._feed) == "flex":
            slots = divide_up(slots * settings.flex_slots_percent, 100)
        return min(settings.batch_window_max, max(1, int(slots * settings.batch_window_per_slot)) if slots else 0)

    def callable_of(self, models: Sequence[Model], window: Window) -> list[str]:
        """The names of a line's models, in their order, whose workers take jobs now. All lines wait first in the queue of
        the feed; if nobody takes jobs from it, lines go on with their next model (`stranded.py`).
        """
        first, *others = models
        lane = lane_of(self._queue)
        found = [one.name for one in others if serve(window.workers, one, queue_of(one.provider, lane))]
        return [first.name, *found] if window.is_served else found

    async def may_feed(self, model: str, window: Window) -> MayFeed:
        """The number of lines of the model that its vendor takes now. If it is 0, `soon` says whether the end of one
        line makes room. Raises `Unavailable`.
        """
        if model not in window.paces:
            window.paces[model] = await self._paces.of(*self._pace_names(model))
        pace = window.paces[model]
        waits = pace.wait_s > 0
        return MayFeed(0 if waits else max(0, pace.limit - window.running.models[model]), soon=not waits)

    def _pace_names(self, model: str) -> list[str]:
        upstreams = self._catalogue.upstreams.of(self._catalogue.find(model))
        return [pace_name(upstream.name, model, tier_of(self._feed)) for upstream in upstreams]

    def defer(self, cursor: Cursor, waits_for: WaitsFor, running: int) -> None:
        """Feed nothing more of the batch until what its next line waits for may have changed. `running` lines of its
        account are under way.
        """
        remember(self._deferred, cursor.batch_id, Deferred(waits_for, running, time.monotonic()))

    async def wait_of(self, cursor: Cursor, window: Window) -> Wait:
        """How long the batch waits. Raises `Unavailable`."""
        deferred = self._deferred.get(cursor.batch_id)
        if deferred is None:
            return Wait.NOT_AT_ALL
        if model := deferred.waits_for.model:
            now = await self.may_feed(model, window)
            return Wait.NOT_AT_ALL if now.lines else _until_an_end(may_help=now.soon)
        running = window.running.accounts[cursor.account_id]
        long_ago = time.monotonic() >= deferred.at + self._settings.batch_look_every_s
        return Wait.NOT_AT_ALL if long_ago or running != deferred.running else _until_an_end(may_help=running > 0)

    def let_go(self, cursor: Cursor) -> None:
        """Forget what the batch waits for, because its lines are read now."""
        self._deferred.pop(cursor.batch_id, None)


def _until_an_end(*, may_help: bool) -> Wait:
    return Wait.FOR_AN_END if may_help else Wait.LONGER
