"""Lists of many rows: complete and in order, and made in pieces between which others have a turn."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sized
from typing import Any

import asyncpg
import pytest
from aiohttp import ClientSession
from aiohttp.test_utils import TestServer
from arq.connections import ArqRedis

from api.app import create_app
from api.http.lists import ROWS_AT_ONCE, SHORT_ROWS, LongList
from shared.ids import created_at, new_id
from shared.ledger.api_keys import KeyRules, create_key
from shared.settings import Settings
from tests.integration.conftest import NewAccount

FILES = SHORT_ROWS + ROWS_AT_ONCE + 1
DAYS, MODELS, KEYS = 3, 5, 80
FILE = """
    INSERT INTO files (id, account_id, day, form, filename, state, bytes, lines, bad_lines, created_at, expires_at, look_at)
    VALUES ($1, $2, current_date, 'openai', 'lines.jsonl', 'ready', 1, 1, 0, $3, now() + interval '9 days', 'infinity')
"""
USAGE = """
    INSERT INTO usage_by_day
    SELECT $1, current_date - d, 'model-' || m, 'key-' || k, 2, 1, 3, 4, 5, 6, 7
    FROM generate_series(0, $2 - 1) d, generate_series(1, $3) m, generate_series(1, $4) k
"""


@pytest.fixture
async def door(settings: Settings, redis_client: ArqRedis) -> AsyncIterator[TestServer]:
    assert await redis_client.ping()
    server = TestServer(create_app(settings))
    await server.start_server()
    yield server
    await server.close()


@pytest.fixture
async def account(new_account: NewAccount) -> str:
    return await new_account(1_000_000_000)


@pytest.fixture
async def caller(door: TestServer, pool: asyncpg.Pool, account: str) -> AsyncIterator[ClientSession]:
    key = await create_key(pool, account, KeyRules(scopes=("read", "manage")))
    async with ClientSession(door.make_url("/"), headers={"Authorization": f"Bearer {key.key}"}) as session:
        yield session


@pytest.fixture
def pieces(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many rows each piece had that a list was made of."""
    sizes: list[int] = []
    after = LongList.after

    async def noted(listing: LongList, piece: Sized) -> None:
        sizes.append(len(piece))
        await after(listing, piece)

    monkeypatch.setattr(LongList, "after", noted)
    return sizes


async def shown(caller: ClientSession, path: str) -> Any:
    async with caller.get(path) as answer:
        assert answer.status == 200
        return await answer.json()


async def test_files_are_listed_whole_and_in_order(
    caller: ClientSession, pool: asyncpg.Pool, account: str, pieces: list[int]
) -> None:
    ids = sorted((new_id("file") for _ in range(FILES)), key=lambda one: (created_at(one), one))
    await pool.executemany(FILE, [(one, account, created_at(one)) for one in ids])
    oldest_first = await shown(caller, "/v1/files?order=asc")
    assert [file["id"] for file in oldest_first["data"]] == ids
    assert (oldest_first["first_id"], oldest_first["last_id"], oldest_first["has_more"]) == (ids[0], ids[-1], False)
    assert pieces == [SHORT_ROWS, ROWS_AT_ONCE, 1]
    newest_first = await shown(caller, "/v1/files")
    assert [file["id"] for file in newest_first["data"]] == ids[::-1]
    limit = SHORT_ROWS + 3
    page = await shown(caller, f"/v1/files?limit={limit}")
    assert [file["id"] for file in page["data"]] == ids[::-1][:limit]
    assert (page["last_id"], page["has_more"]) == (ids[-limit], True)
    rest = await shown(caller, f"/v1/files?limit={FILES - limit}&after={page['last_id']}")
    assert [file["id"] for file in rest["data"]] == ids[::-1][limit:]
    assert rest["has_more"] is False


async def test_usage_is_listed_whole_and_in_order(
    caller: ClientSession, pool: asyncpg.Pool, account: str, pieces: list[int]
) -> None:
    await pool.execute(USAGE, account, DAYS, MODELS, KEYS)
    used = (await shown(caller, "/api/usage?group_by=model,key,day"))["result"]
    rows = [(row["model"], row["key_id"], row["day"]) for row in used["rows"]]
    assert rows == sorted(set(rows))
    assert len(rows) == sum(pieces) == DAYS * MODELS * KEYS
    assert max(pieces) == ROWS_AT_ONCE
    for name in ("requests", "failed", "tokens_input", "tokens_reasoning"):
        assert used["total"][name] == sum(row[name] for row in used["rows"]) > 0
    by_day = (await shown(caller, "/api/usage"))["result"]
    assert by_day["total"] == used["total"]


async def test_keys_are_listed_whole_and_in_order(
    caller: ClientSession, pool: asyncpg.Pool, account: str, pieces: list[int]
) -> None:
    made = [(await create_key(pool, account, KeyRules(name=f"key {number}"))).key_id for number in range(3)]
    listed = (await shown(caller, "/api/keys"))["result"]
    assert [key["key_id"] for key in listed[1:]] == made
    assert pieces == [len(listed)]
