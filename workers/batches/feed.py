"""Feeds batches to the queue: a window of items per provider, no more, however many lines wait in Postgres.

One worker at a time feeds a provider (an advisory lock). Holds are taken with the items in one transaction, then the jobs
are enqueued; a crash between the two is found by `finish.py`. The window follows the slots of the living workers, the
bytes that Redis would hold, and what each model's vendor allows.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import asyncpg
import msgspec
import structlog

from shared.batches.queries import BATCHES
from shared.catalogue.models import Catalogue
from shared.errors import ModelNotFound, RebootError, Unavailable
from shared.job import Job
from shared.lanes import PROVIDERS
from shared.money import divide_up
from shared.queue.heartbeat import living_workers
from shared.stores import keys
from shared.stores.postgres import UNREACHABLE as DATABASE_UNREACHABLE
from shared.stores.redis_client import UNREACHABLE as REDIS_UNREACHABLE
from workers.batches.items import Item, LineReader, job_of
from workers.batches.pace import Paces
from workers.batches.shares import Hungry, shares
from workers.sweeps.locks import alone

if TYPE_CHECKING:
    import redis.asyncio

    from shared.queue.queue import Queue
    from shared.settings import Settings

log = structlog.get_logger(__name__)
FEED_LOCKS = {provider: 7_201_100 + number for number, provider in enumerate(PROVIDERS)}
CURSORS_MAX = 1_000
LINES_PER_READ_MAX = 256


class Window(NamedTuple):
    """What is under way of one provider, and how much more may be."""

    free: int
    free_bytes: int
    running: Counter[str]
    """By account, by batch and by model, under their ids and names."""


class Fed(NamedTuple):
    """So many lines of a batch. `soon`: when something that is under way ends, there is room for the next one."""

    lines: int
    soon: bool


class Held(NamedTuple):
    """What the next line of a batch waits for: calls of `model`, or, when that is empty, credit or room of its account, of
    which `running` lines were under way at the monotonic time `at`.
    """

    model: str
    running: int
    at: float


class BatchFeeder:
    """`feed(provider)` fills its window once; `run(provider)` keeps it full, a task of the owner."""

    def __init__(
        self,
        *,
        pool: asyncpg.Pool,
        client: redis.asyncio.Redis,
        queue: Queue,
        paces: Paces,
        catalogue: Catalogue,
        settings: Settings,
    ) -> None:
        self._pool = pool
        self._client = client
        self._queue = queue
        self._paces = paces
        self._lines = LineReader(catalogue, settings)
        self._settings = settings
        self._held: dict[str, dict[str, Held]] = {provider: {} for provider in PROVIDERS}
        """By provider and batch."""

    async def run(self, provider: str) -> None:
        """Feed until cancelled, whatever a store says to it; looks now and then while there is nothing to feed."""
        while True:
            busy = False
            try:
                busy = await self.feed(provider) is not None
            except (Unavailable, *REDIS_UNREACHABLE, *DATABASE_UNREACHABLE, asyncpg.PostgresError) as error:
                log.warning("feeding postponed", provider=provider, reason=type(error).__name__)
            await asyncio.sleep(self._settings.batch_feed_every_s if busy else self._settings.batch_look_every_s)

    async def feed(self, provider: str) -> int | None:
        """How many items were fed, 0 when the end of one under way makes room again; None when another worker feeds, or
        nothing can be fed for a while.

        Raises asyncpg's and redis-py's errors and `Unavailable`.
        """
        async with alone(self._pool, FEED_LOCKS[provider]) as connection:
            if connection is None:
                return None
            cursors = await connection.fetch(BATCHES["open_cursors"], provider, CURSORS_MAX)
            if not cursors:
                return None
            held = self._held[provider]
            self._held[provider] = {
                row["batch_id"]: held[row["batch_id"]] for row in cursors if row["batch_id"] in held
            }
            window = await self._window(connection, provider)
            hungry = [Hungry(row["batch_id"], row["account_id"], row["left_over"]) for row in cursors]
            wanted = shares(window.free, hungry, window.running)
            if not wanted:
                return 0
            chosen = self._in_turn([row for row in cursors if row["batch_id"] in wanted], window)
            if not chosen:
                return 0  # what is under way has all of the window's bytes
            room_bytes = window.free_bytes // len(chosen)
            fed = [await self._feed_aside(provider, row, wanted[row["batch_id"]], room_bytes, window) for row in chosen]
        lines = sum(one.lines for one in fed)
        return lines if lines or any(one.soon for one in fed) else None

    def _in_turn(self, cursors: list[asyncpg.Record], window: Window) -> list[asyncpg.Record]:
        """Who has least under way first, since a vendor's pace may leave something for the first ones only; no more of them
        than the window has room for their largest lines.
        """
        running = window.running
        cursors.sort(key=lambda row: (running[row["account_id"]], running[row["batch_id"]]))
        return cursors[: window.free_bytes // self._settings.batch_line_bytes_max]

    async def _window(self, connection: asyncpg.pool.PoolConnectionProxy, provider: str) -> Window:
        settings = self._settings
        name = keys.queue(provider, "batch")
        slots = sum(one.slots for one in await living_workers(self._client) if name in one.claims and not one.draining)
        size = min(settings.batch_window_max, int(slots * settings.batch_window_per_slot))
        running: Counter[str] = Counter()
        items = used = 0
        for row in await connection.fetch(BATCHES["running"], provider):
            for name_of in ("account_id", "batch_id", "model"):
                running[row[name_of]] += row["items"]
            items += row["items"]
            used += row["bytes"]
        return Window(max(0, size - items), max(0, settings.batch_window_bytes_max - used), running)

    async def _feed_aside(
        self, provider: str, cursor: asyncpg.Record, count: int, room_bytes: int, window: Window
    ) -> Fed:
        """One batch, whose lines hold up no other batch: Postgres cannot count what some of them would cost."""
        try:
            return await self._feed_batch(provider, cursor, count, room_bytes, window)
        except asyncpg.DataError as error:
            log.error(  # noqa: TRY400 - an operator has to look at it
                "batch cannot be fed", alert=True, batch=cursor["batch_id"], reason=type(error).__name__
            )
            return Fed(0, soon=False)

    async def _feed_batch(
        self, provider: str, cursor: asyncpg.Record, count: int, room_bytes: int, window: Window
    ) -> Fed:
        held = self._held[provider].pop(cursor["batch_id"], None)
        if held and (still := await self._still(held, cursor, window)):
            self._held[provider][cursor["batch_id"]] = held
            return still
        lines = await self._pool.fetch(
            BATCHES["next_lines"],
            *(cursor["file_id"], cursor["file_day"], provider, cursor["fed_to"]),
            *(min(count, LINES_PER_READ_MAX), room_bytes),
        )
        items, held_by = await self._allowed(cursor, lines, window)
        fed = await self._hold_and_enqueue(provider, cursor, items, window) if items else Fed(0, soon=False)
        if held_by and fed.lines == len(items):
            self._held[provider][cursor["batch_id"]] = Held(held_by, 0, 0)
            fed = Fed(fed.lines, (await self._room(held_by, window)).soon)
        return fed

    async def _still(self, held: Held, cursor: asyncpg.Record, window: Window) -> Fed | None:
        """The answer where it is known without a look at the lines, which may be large."""
        if held.model:
            room = await self._room(held.model, window)
            return None if room.lines else room
        running = window.running[cursor["account_id"]]
        long_ago = time.monotonic() >= held.at + self._settings.batch_look_every_s
        return None if long_ago or running != held.running else Fed(0, soon=running > 0)

    async def _room(self, model: str, window: Window) -> Fed:
        """How many lines of the model its vendor takes now; when none, whether the end of one makes room."""
        pace = await self._paces.of(model)
        waits = pace.wait_s > 0
        return Fed(0 if waits else max(0, pace.limit - window.running[model]), soon=not waits)

    async def _allowed(
        self, cursor: asyncpg.Record, lines: Sequence[asyncpg.Record], window: Window
    ) -> tuple[list[Item], str]:
        """The lines up to the first one whose model's vendor takes no more just now, and that model."""
        items: list[Item] = []
        room: dict[str, int] = {}
        held_by = ""
        for line in lines:
            try:
                item = self._lines.item(cursor, line["number"], line["asked"])
            except ModelNotFound as error:
                log.error(  # noqa: TRY400 - an operator took the model away
                    "batch stopped at a model that left the catalogue",
                    alert=True,
                    batch=cursor["batch_id"],
                    reason=error.message,
                )
                break
            name = item.model.name
            if name not in room:
                room[name] = (await self._room(name, window)).lines
            if room[name] <= 0:
                held_by = name
                break
            room[name] -= 1
            items.append(item)
        for item in items:
            window.running[item.model.name] += 1
        return items, held_by

    async def _hold_and_enqueue(self, provider: str, cursor: asyncpg.Record, items: list[Item], window: Window) -> Fed:
        settings = self._settings
        *admitted, last = await self._pool.fetch(
            BATCHES["feed"],
            *(cursor["batch_id"], provider, cursor["fed_to"]),
            msgspec.json.encode([item.reservation for item in items]).decode(),
            *(settings.in_flight_max, settings.batch_in_flight_kept, settings.batch_balance_percent / 100),
        )
        holds = {row["request_id"]: row["granted_hold"] for row in admitted}
        jobs = [job_of(item, holds[item.reservation.id]) for item in items if item.reservation.id in holds]
        await asyncio.gather(*(self.enqueue(job, cursor["key_id"]) for job in jobs))
        running = window.running[cursor["account_id"]]
        if last["outcome"] in {"credit", "key_limit"}:
            await self._pause_unless_something_runs(cursor, last)
        if last["outcome"] in {"credit", "key_limit", "in_flight"}:
            self._held[provider][cursor["batch_id"]] = Held("", running + len(jobs), time.monotonic())
        return Fed(len(jobs), soon=running > 0 and last["outcome"] != "not_now")

    async def enqueue(self, job: Job, key_id: str, epoch: int = 0) -> None:
        """Into its queue; what does not get in is found missing later and enqueued again."""
        try:
            name = keys.queue(job.model.provider, "batch")
            await self._queue.enqueue(job, name, channel="", key_id=key_id, rpm=None, epoch=epoch)
        except RebootError as error:
            log.warning("batch item not enqueued", request_id=job.id, reason=error.message)

    async def _pause_unless_something_runs(self, cursor: asyncpg.Record, last: asyncpg.Record) -> None:
        """What runs gives back the rest of its holds, so that only a batch with nothing under way is out of credit."""
        running = await self._pool.fetchval(BATCHES["account_runs"], cursor["account_id"])
        if not running:
            by_credit = last["outcome"] == "credit"
            reason = "insufficient_credit" if by_credit else "key_limit"
            needed = (
                divide_up(last["needed"] * 100, self._settings.batch_balance_percent) if by_credit else last["needed"]
            )
            await self._pool.execute(BATCHES["pause"], cursor["batch_id"], reason, needed)
            log.info("batch paused", batch=cursor["batch_id"], reason=reason)
