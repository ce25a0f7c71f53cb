"""The Redis client: whatever way a connection ends, it is a lost connection and never an error of another kind."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
import redis.asyncio

from shared.scripts import UNREACHABLE, connect
from shared.settings import Settings


class ClosedTransport:
    """As uvloop's: writing to it after the other side has gone raises RuntimeError."""

    def writelines(self, command: Iterable[bytes]) -> None:
        raise RuntimeError("unable to perform operation on <TCPTransport closed=True>; the handler is closed")

    def close(self) -> None:
        """It is closed."""


@pytest.mark.parametrize("url", ["redis://127.0.0.1:1/0", "rediss://127.0.0.1:1/0", "unix:///nowhere.sock"])
async def test_writing_to_a_connection_that_has_just_closed_is_a_lost_connection(url: str) -> None:
    settings = Settings.load({"DATABASE_URL": "postgresql://", "REDIS_URL": url})
    client = connect(settings, redis.asyncio.Redis)
    connection = client.connection_pool.make_connection()  # type: ignore[no-untyped-call]
    connection._reader = connection._writer = ClosedTransport()
    with pytest.raises(UNREACHABLE):
        await connection.send_command("PING")
    assert not connection.is_connected
