"""Who asks which requests have ended is told when Postgres cannot say, whatever the reason."""

from __future__ import annotations

import asyncpg
import pytest

from shared.errors import Unavailable
from shared.ids import new_id
from shared.ledger.endings import Endings
from shared.ledger.ledger import SQL
from shared.settings import Settings
from tests.integration.conftest import running

GIVEN = "$1::text[], $2::timestamptz[]"


@pytest.mark.parametrize(
    ("query", "distrusted"),
    [
        (f"SELECT 1 / 0, {GIVEN}", []),
        (f"SELECT pg_terminate_backend(pg_backend_pid()), {GIVEN}", ["distrusted"]),
    ],
    ids=["it refuses", "its connection is dead"],
)
async def test_an_answer_that_does_not_come_is_unavailable_and_dead_connections_are_distrusted(
    pool: asyncpg.Pool, settings: Settings, monkeypatch: pytest.MonkeyPatch, query: str, distrusted: list[str]
) -> None:
    told: list[str] = []

    async def distrust() -> None:
        told.append("distrusted")

    monkeypatch.setitem(SQL, "hold_states", query)
    endings = Endings(pool, settings, distrust)
    async with running(endings.run()):
        with pytest.raises(Unavailable):
            await endings.has_ended(new_id("req"))
    assert told == distrusted
