from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest
import redis.exceptions
from arq.connections import ArqRedis
from redis.asyncio import Redis
from redis.asyncio.client import Pipeline

from shared import scripts
from shared.errors import Unavailable
from shared.scripts import Scripts, require_no_eviction
from shared.settings import Settings, SettingsError
from tests.integration.conftest import running
from tests.support import eventually_true, free_port


async def _ask(lua: Scripts, key: str = "aborts") -> int:
    """One call of one script; it answers 1."""
    return int(await lua.call("abort", [key], ["id", 60_000]))


class Unreliable(Redis):
    """A real client that loses the replies of its next pipelines, after Redis has run them."""

    lose = 0

    def pipeline(self, *args: Any, **kwargs: Any) -> Pipeline:
        pipe = super().pipeline(*args, **kwargs)
        execute = pipe.execute

        async def execute_and_lose(*args: Any, **kwargs: Any) -> Any:
            answer = await execute(*args, **kwargs)
            if self.lose:
                self.lose -= 1
                raise redis.exceptions.ConnectionError("reply lost")
            return answer

        pipe.execute = execute_and_lose  # type: ignore[method-assign]
        return pipe


@pytest.fixture
def unreliable(settings: Settings) -> Unreliable:
    return scripts.connect(settings, kind=Unreliable)


async def test_calls_that_are_made_together_travel_together_and_keep_their_answers(
    lua: Scripts, redis_client: ArqRedis
) -> None:
    await redis_client.hset("run", "epoch", "1")  # type: ignore[misc] # typed for both clients
    calls = [
        lua.call("append", ["settles", f"journal:{n % 5}", "run"], ["id", 1, n // 5, b"event", 60_000, b"", b""])
        for n in range(50)
    ]
    assert await asyncio.gather(*calls) == [[1 + n // 5] for n in range(50)]


async def test_scripts_survive_a_server_that_forgot_them(lua: Scripts, redis_client: ArqRedis) -> None:
    assert await _ask(lua) == 1
    await redis_client.script_flush()
    assert await _ask(lua) == 1


async def test_a_call_whose_reply_was_lost_is_sent_again(
    unreliable: Unreliable, redis_client: ArqRedis, settings: Settings
) -> None:
    lua = Scripts(unreliable, settings)
    async with running(lua.run()), unreliable:
        unreliable.lose = 1
        assert await _ask(lua) == 1
        assert await redis_client.zcard("aborts") == 1


async def test_a_server_that_is_lost_and_comes_back_without_its_scripts_is_unavailable_at_worst(
    unreliable: Unreliable, redis_client: ArqRedis, settings: Settings
) -> None:
    lua = Scripts(unreliable, settings)
    async with running(lua.run()), unreliable:
        assert await _ask(lua) == 1
        await redis_client.script_flush()
        unreliable.lose = 1  # the first try is lost, the second one finds a server without scripts
        assert await _ask(lua) == 1
        unreliable.lose = 2
        with pytest.raises(Unavailable):
            await _ask(lua)
        assert await _ask(lua) == 1


async def test_a_call_that_redis_refuses_is_unavailable_and_its_neighbours_are_answered(
    lua: Scripts, redis_client: ArqRedis
) -> None:
    await redis_client.set("wrong", "a string where a sorted set belongs")
    refused, answered = await asyncio.gather(_ask(lua, "wrong"), _ask(lua), return_exceptions=True)
    assert isinstance(refused, Unavailable)
    assert answered == 1


async def test_a_server_that_is_not_there_is_unavailable(settings: Settings) -> None:
    nowhere = msgspec.structs.replace(settings, redis_url=f"redis://127.0.0.1:{free_port()}/0")
    client = scripts.connect(nowhere, kind=Redis)
    lua = Scripts(client, nowhere)
    async with running(lua.run()), client:
        with pytest.raises(Unavailable):
            await _ask(lua)


async def test_calls_work_again_after_every_connection_was_killed(lua: Scripts, redis_client: ArqRedis) -> None:
    assert await _ask(lua) == 1
    await redis_client.client_kill_filter(_type="normal", skipme=True)

    async def answered() -> bool:
        try:
            return await _ask(lua) == 1
        except Unavailable:
            return False

    await eventually_true(answered, "scripts are answered again")


async def test_an_ask_to_abort_that_nobody_answered_is_forgotten(lua: Scripts, redis_client: ArqRedis) -> None:
    await redis_client.zadd("aborts", {"old": 1})
    await _ask(lua)
    assert await redis_client.zrange("aborts", 0, -1) == [b"id"]


async def test_a_redis_that_may_evict_is_refused(redis_client: ArqRedis) -> None:
    await require_no_eviction(redis_client)
    await redis_client.config_set("maxmemory-policy", "allkeys-lru")
    try:
        with pytest.raises(SettingsError, match=r"^REDIS_URL.*allkeys-lru"):
            await require_no_eviction(redis_client)
    finally:
        await redis_client.config_set("maxmemory-policy", "noeviction")


async def test_a_connection_that_was_closed_while_idle_is_made_anew(settings: Settings, redis_client: ArqRedis) -> None:
    async with scripts.connect(settings, kind=ArqRedis) as client:
        for _ in range(3):
            mine = await client.client_id()
            assert await redis_client.client_kill_filter(_id=str(mine))
            await asyncio.sleep(0.05)
