from __future__ import annotations

import asyncio

import pytest
import redis.exceptions
from arq.connections import ArqRedis

from shared.stores.redis_client import connected
from shared.stores.redis_connections import Subscription
from tests.harness.support import eventually, eventually_true

CHANNEL = "a channel"


class Heard:
    """What a subscription says."""

    def __init__(self) -> None:
        self.beginnings = 0
        self.messages: list[bytes] = []

    def begin(self) -> None:
        self.beginnings += 1

    def subscription(self) -> Subscription:
        return Subscription(CHANNEL, subscribed=self.begin, hear=self.messages.append)


@pytest.fixture
def heard() -> Heard:
    return Heard()


async def test_messages_come_in_order_and_whole_however_large(redis_client: ArqRedis, heard: Heard) -> None:
    sent = [b"", b"\r\n$3", bytes(range(256)), b"x" * 3_000_000, b"last"]
    subscription = await connected(redis_client, heard.subscription())
    listening = asyncio.ensure_future(subscription.listen(ping_s=5, silent_s=15))
    await eventually(lambda: heard.beginnings == 1, "subscribed")
    for message in sent:
        await redis_client.publish(CHANNEL, message)
    await eventually(lambda: len(heard.messages) == len(sent), "all heard")
    assert heard.messages == sent
    subscription.close()
    with pytest.raises(redis.exceptions.ConnectionError):
        await listening


async def test_a_quiet_subscription_is_asked_whether_it_lives(redis_client: ArqRedis, heard: Heard) -> None:
    subscription = await connected(redis_client, heard.subscription())
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(subscription.listen(ping_s=0.05, silent_s=0.2), timeout=1)
    assert heard.beginnings == 1
    subscription.close()


async def test_a_subscription_that_falls_silent_is_lost(redis_client: ArqRedis, heard: Heard) -> None:
    async def take_everything(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        while await reader.read(1_000):
            pass

    server = await asyncio.start_server(take_everything, "127.0.0.1", 0)
    subscription = heard.subscription()
    _, writer = await asyncio.open_connection(*server.sockets[0].getsockname()[:2])
    subscription.take_over(writer)
    with pytest.raises(redis.exceptions.TimeoutError):
        await subscription.listen(ping_s=0.02, silent_s=0.1)
    assert subscription.closed
    server.close()


async def test_a_subscription_that_is_killed_is_lost_at_once(redis_client: ArqRedis, heard: Heard) -> None:
    subscription = await connected(redis_client, heard.subscription())
    listening = asyncio.ensure_future(subscription.listen(ping_s=60, silent_s=180))
    await eventually_true(lambda: redis_client.pubsub_numsub(CHANNEL), "subscribed")
    await redis_client.execute_command("CLIENT", "KILL", "TYPE", "pubsub")  # type: ignore[no-untyped-call]
    with pytest.raises(redis.exceptions.ConnectionError):
        await asyncio.wait_for(listening, timeout=10)


async def test_a_subscription_that_redis_refuses_is_lost(redis_client: ArqRedis, heard: Heard) -> None:
    await redis_client.execute_command("ACL", "SETUSER", "default", "resetchannels")  # type: ignore[no-untyped-call]
    try:
        subscription = await connected(redis_client, heard.subscription())
        with pytest.raises(redis.exceptions.ConnectionError):
            await asyncio.wait_for(subscription.listen(ping_s=60, silent_s=180), timeout=10)
    finally:
        await redis_client.execute_command("ACL", "SETUSER", "default", "allchannels")  # type: ignore[no-untyped-call]
