"""A key is looked up again soon although every connection of the pool is half-open."""

from __future__ import annotations

import asyncio
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import asyncpg
import msgspec
import pytest

from api.auth import Authenticator
from shared.errors import Unavailable
from shared.ledger.api_keys import KeyRules, create_key
from shared.settings import Settings
from shared.stores.postgres import connect
from tests.harness.proxy import Proxy
from tests.integration.conftest import NewAccount

CONNECTIONS = 4


async def test_only_the_first_look_up_waits_for_a_dead_connection(
    pool: asyncpg.Pool, settings: Settings, new_account: NewAccount, caplog: pytest.LogCaptureFixture
) -> None:
    new = await create_key(pool, await new_account(0), KeyRules(name="ci"))
    parts = urlsplit(settings.database_url)
    socket = parse_qs(parts.query)
    proxy = Proxy(Path(f"{socket['host'][0]}/.s.PGSQL.{socket['port'][0]}"))
    await proxy.open()
    through = msgspec.structs.replace(
        settings,
        database_url=f"postgresql://postgres@127.0.0.1:{proxy.port}{parts.path}",
        database_connections_max=CONNECTIONS,
        database_timeout_s=0.3,
    )
    behind = await connect(through, application="test")
    try:
        await asyncio.gather(*(behind.fetch("SELECT pg_sleep(0.1)") for _ in range(CONNECTIONS)))
        authenticator = Authenticator(behind, through)
        proxy.black_hole(new_too=False)
        with pytest.raises(Unavailable):
            await authenticator.authenticate({"x-api-key": new.key}, "inference")
        assert (await authenticator.authenticate({"x-api-key": new.key}, "inference")).id == new.key_id
        await asyncio.sleep(4 * through.database_timeout_s)  # what was expired is closed in the background meanwhile
        assert "never retrieved" not in caplog.text
    finally:
        behind.terminate()
        await proxy.close()
