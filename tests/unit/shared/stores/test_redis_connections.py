"""The Redis client: whatever way a connection ends, it is a lost connection and never an error of another kind."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Any

import pytest
import redis.asyncio
import redis.exceptions

from shared.settings import Settings
from shared.stores.redis_client import UNREACHABLE, connect
from shared.stores.redis_connections import Pipeline, Subscription


class ClosedTransport:
    """As uvloop's: writing to it after the other side has gone raises RuntimeError."""

    def writelines(self, command: Iterable[bytes]) -> None:
        raise RuntimeError("unable to perform operation on <TCPTransport closed=True>; the handler is closed")

    def close(self) -> None:
        """It is closed."""


def _connection(url: str) -> Any:
    settings = Settings.load({"DATABASE_URL": "postgresql://", "REDIS_URL": url})
    client = connect(settings, redis.asyncio.Redis)
    return client.connection_pool.make_connection()  # type: ignore[no-untyped-call]


@pytest.mark.parametrize("url", ["redis://127.0.0.1:1/0", "rediss://127.0.0.1:1/0", "unix:///nowhere.sock"])
async def test_writing_to_a_connection_that_has_just_closed_is_a_lost_connection(url: str) -> None:
    connection = _connection(url)
    connection._reader = connection._writer = ClosedTransport()
    with pytest.raises(UNREACHABLE):
        await connection.send_command("PING")
    assert not connection.is_connected


@pytest.mark.parametrize(
    "command",
    [
        ("PING",),
        (b"PING",),
        ("SCRIPT LOAD", "return 1"),
        (b"CONFIG GET", "maxmemory-policy"),
        ("EVALSHA", "sha", 1, "key \N{SNOWMAN}", b"\0\r\n\xff", 12, 1.5, 0.1, b"", "", -1),
        ("SET", "key", "x" * 100_000),
    ],
)
def test_commands_are_packed_as_redis_py_packs_them(command: tuple[str | bytes | int | float, ...]) -> None:
    ours = _connection("redis://127.0.0.1:1/0").pack_command(*command)
    theirs = redis.asyncio.Connection().pack_command(*command)
    assert b"".join(ours) == b"".join(theirs)


@pytest.mark.parametrize(
    ("happened", "of_no_use"),
    [
        (lambda _: None, False),
        (lambda reader: reader.feed_data(b"+late\r\n"), True),
        (lambda reader: reader.feed_eof(), True),
        (lambda reader: reader.set_exception(ConnectionResetError()), True),
    ],
)
async def test_an_idle_connection_to_which_something_happened_is_of_no_use(
    happened: Callable[[asyncio.StreamReader], None],
    of_no_use: bool,  # noqa: FBT001
) -> None:
    connection = _connection("redis://127.0.0.1:1/0")
    connection._reader = asyncio.StreamReader()
    happened(connection._reader)
    assert await connection.can_read_destructive() == of_no_use


class SlowTransport(ClosedTransport):
    """Takes what is written once it is open."""

    def __init__(self) -> None:
        self.open = asyncio.Event()

    def writelines(self, command: Iterable[bytes]) -> None:
        pass

    async def drain(self) -> None:
        await self.open.wait()


@pytest.mark.parametrize("ticks", range(6))
async def test_a_cancellation_is_never_lost_however_close_it_comes_to_the_end_of_a_write(ticks: int) -> None:
    connection = _connection("redis://127.0.0.1:1/0")
    connection._reader = connection._writer = transport = SlowTransport()
    sending = asyncio.ensure_future(connection.send_command("PING"))
    await asyncio.sleep(0.01)
    transport.open.set()
    for _ in range(ticks):
        await asyncio.sleep(0)
    was_done = sending.done()
    sending.cancel()
    await asyncio.wait({sending})
    assert sending.cancelled() != was_done


async def test_a_server_that_takes_nothing_is_a_lost_connection() -> None:
    connection = _connection("redis://127.0.0.1:1/0")
    connection.socket_timeout = 0.01
    connection._reader = connection._writer = SlowTransport()
    with pytest.raises(UNREACHABLE):
        await connection.send_command("PING")
    assert not connection.is_connected


class ClosedWriter:
    """A stream's writer whose transport has just closed, as uvloop's."""

    class Transport:
        def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
            """It has one."""

        def write(self, commands: bytes) -> None:
            raise RuntimeError("unable to perform operation on <TCPTransport closed=True>; the handler is closed")

        def abort(self) -> None:
            """It is closed."""

    transport = Transport()


async def test_asking_on_a_connection_that_has_just_closed_is_a_lost_connection() -> None:
    pipeline = Pipeline(timeout_s=60)
    pipeline.take_over(ClosedWriter())  # type: ignore[arg-type] # as good as one here
    answers = await asyncio.gather(*(pipeline.ask("PING") for _ in range(3)), return_exceptions=True)
    assert [type(answer) for answer in answers] == [redis.exceptions.ConnectionError] * 3
    assert pipeline.closed


async def test_listening_on_a_connection_that_has_just_closed_is_a_lost_connection() -> None:
    subscription = Subscription("channel", subscribed=lambda: None, hear=lambda _: None)
    subscription.take_over(ClosedWriter())  # type: ignore[arg-type]
    with pytest.raises(redis.exceptions.ConnectionError):
        await asyncio.wait_for(subscription.listen(ping_s=60, silent_s=60), timeout=1)
