"""What belongs to another account is not there: 404 on every route that leads to an object, and nothing changes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import NamedTuple

import asyncpg
import pytest

from shared.ledger.api_keys import SCOPES, KeyRules
from tests.e2e.conftest import NewCaller
from tests.harness.caller import Caller

EVERYTHING = KeyRules(scopes=SCOPES)


async def _a_key(owner: Caller, _: asyncpg.Pool) -> str:
    return owner.key.split("_")[1]


class Kind(NamedTuple):
    """Something an account has: how to get one (its id), and the row that must not change."""

    make: Callable[[Caller, asyncpg.Pool], Awaitable[str]]
    row: str


KEY = Kind(_a_key, "SELECT k::text FROM api_keys k WHERE id = $1")
ROUTES = [
    ("DELETE", "/api/keys/{id}", KEY),
    ("POST", "/api/keys/{id}/rotate", KEY),
]
NOT_IDS = ["%00", "%ff", "..%2f", "%F0%9F%98%80", "x" * 300, "'--", "0"]


@pytest.mark.parametrize(("method", "path", "kind"), ROUTES, ids=lambda value: value if isinstance(value, str) else "")
async def test_another_accounts_object_is_not_there(
    new_caller: NewCaller, books: asyncpg.Pool, method: str, path: str, kind: Kind
) -> None:
    owner, stranger = await new_caller(rules=EVERYTHING), await new_caller(rules=EVERYTHING)
    identity = await kind.make(owner, books)
    before = await books.fetchval(kind.row, identity)
    assert before is not None
    refused = await stranger.request(method, path.format(id=identity))
    unknown = await stranger.request(method, path.format(id=identity[::-1]))
    assert (refused.status, refused.error["code"]) == (404, "not_found")
    assert refused.error["message"] == unknown.error["message"]  # it is not even said that there is one
    assert await books.fetchval(kind.row, identity) == before
    assert (await owner.request(method, path.format(id=identity))).status in {200, 201}


@pytest.mark.parametrize("identity", NOT_IDS)
@pytest.mark.parametrize(("method", "path", "kind"), ROUTES, ids=lambda value: value if isinstance(value, str) else "")
async def test_what_can_be_no_id_is_not_there_either(
    new_caller: NewCaller, method: str, path: str, kind: Kind, identity: str
) -> None:
    stranger = await new_caller(rules=EVERYTHING)
    reply = await stranger.request(method, path.format(id=identity))
    assert (reply.status, reply.error["code"]) == (404, "not_found")
