"""A key that cannot be looked up because somebody has the table to himself: a 503, and no connection is distrusted for it."""

from __future__ import annotations

import asyncpg
import pytest

from api.auth import Authenticator
from shared.errors import Unavailable
from shared.ledger.api_keys import KeyRules, create_key
from shared.settings import Settings
from tests.integration.conftest import NewAccount


async def test_a_locked_table_is_unavailable_and_its_connections_are_as_good_as_before(
    pool: asyncpg.Pool, new_account: NewAccount, settings: Settings
) -> None:
    distrusted = 0

    async def distrust() -> None:
        nonlocal distrusted
        distrusted += 1

    key = await create_key(pool, await new_account(0), KeyRules())
    door, headers = Authenticator(pool, settings, distrust), {"Authorization": f"Bearer {key.key}"}
    async with pool.acquire() as changing, changing.transaction():
        await changing.execute("LOCK TABLE api_keys IN ACCESS EXCLUSIVE MODE")
        with pytest.raises(Unavailable, match="try again"):
            await door.authenticate(headers, "inference")
    assert distrusted == 0
    assert (await door.authenticate(headers, "inference")).id == key.key_id
