"""The feeder of batches, on real stores."""

from __future__ import annotations

from typing import Protocol

import msgspec
import pytest
from arq.connections import ArqRedis
from asyncpg import Pool

from shared.catalogue.models import Catalogue, load_catalogue
from shared.queue.queue import Queue
from shared.settings import Settings
from shared.stores.scripts import Scripts
from tests.integration.batches.batching import forget_other_batches
from workers.batches.feed import BatchFeeder
from workers.upstreams.paces import Paces


class MakeFeeder(Protocol):
    """Makes a feeder with this catalogue, the own one by default, and with other settings."""

    def __call__(self, catalogue: Catalogue | None = None, **changes: object) -> BatchFeeder: ...


@pytest.fixture
async def make_feeder(pool: Pool, redis_client: ArqRedis, queue: Queue, lua: Scripts, settings: Settings) -> MakeFeeder:
    """What other tests have left is not fed."""
    await forget_other_batches(pool)

    def make(catalogue: Catalogue | None = None, **changes: object) -> BatchFeeder:
        ours = msgspec.structs.replace(settings, **changes)
        return BatchFeeder(
            pool=pool,
            client=redis_client,
            queue=queue,
            paces=Paces(lua, ours),
            catalogue=catalogue or load_catalogue(None),
            settings=ours,
        )

    return make
