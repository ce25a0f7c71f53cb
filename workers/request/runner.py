"""The parts of a worker process that running requests need."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import redis.asyncio

    from shared.ledger.endings import Endings
    from shared.ledger.settler import Settler
    from shared.queue.queue import Queue
    from shared.runtime.growing_room import GrowingRoom
    from shared.settings import Settings
    from workers.request.journal_writer import JournalFlusher
    from workers.upstreams.routes import Routes

RUNNER = "runner"
"""The name of the `Runner` in the context that arq gives a job function."""


@dataclass(frozen=True, kw_only=True)
class Runner:
    """The parts that running requests need; one per worker process."""

    routes: Routes
    redis: redis.asyncio.Redis
    queue: Queue
    flusher: JournalFlusher
    settler: Settler
    endings: Endings
    answers: GrowingRoom
    settings: Settings
