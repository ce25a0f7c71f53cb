from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import msgspec
import pytest
import redis.exceptions
from arq.connections import ArqRedis
from redis.asyncio import Redis

from shared.errors import Unavailable
from shared.settings import Settings, SettingsError
from shared.stores.redis_client import connect as connect_redis
from shared.stores.redis_client import require_no_eviction
from shared.stores.redis_connections import Pipeline
from shared.stores.scripts import Scripts
from tests.harness.proxy import Proxy
from tests.harness.support import eventually_true, free_port


async def _ask(lua: Scripts, key: str = "aborts") -> int:
    """One call of one script; it answers 1."""
    return int(await lua.call("abort", ["run", key], ["id", 60_000, ""]))


class Door(NamedTuple):
    """Scripts that reach Redis through a proxy."""

    lua: Scripts
    proxy: Proxy


@pytest.fixture
async def door(settings: Settings, redis_client: ArqRedis) -> AsyncIterator[Door]:
    """`redis_client` is asked for so that Redis is empty."""
    url = urlsplit(settings.redis_url)
    target = Path(url.path) if url.scheme == "unix" else (url.hostname or "", url.port or 6379)
    proxy = Proxy(target)
    await proxy.open()
    number = int(redis_client.connection_pool.connection_kwargs["db"])
    through = msgspec.structs.replace(
        settings, redis_url=f"redis://127.0.0.1:{proxy.port}/{number}", redis_timeout_s=0.3
    )
    async with connect_redis(through, kind=Redis) as client:
        with contextlib.closing(Scripts(client, through)) as lua:
            yield Door(lua, proxy)
    await proxy.close()


async def test_calls_that_are_made_together_travel_together_and_keep_their_answers(
    lua: Scripts, redis_client: ArqRedis
) -> None:
    await redis_client.hset("run", mapping={"epoch": 1, "owner": "me"})  # type: ignore[misc] # typed for both clients
    calls = [
        lua.call(
            "append",
            ["settles", f"journal:{n % 5}", "run"],
            ["id", 1, "me", n // 5, b"event", 60_000, b"", b"", b"", b""],
        )
        for n in range(50)
    ]
    assert await asyncio.gather(*calls) == [[1 + n // 5] for n in range(50)]


async def test_scripts_survive_a_server_that_forgot_them(lua: Scripts, redis_client: ArqRedis) -> None:
    assert await _ask(lua) == 1
    await redis_client.script_flush()
    assert await _ask(lua) == 1


async def test_a_call_whose_reply_was_lost_is_sent_again(door: Door, redis_client: ArqRedis) -> None:
    door.proxy.lose_replies(b"EVAL", times=1)
    assert await _ask(door.lua) == 1
    assert door.proxy.replies_lost == 1
    assert await redis_client.zcard("aborts") == 1


async def test_a_server_that_is_lost_and_comes_back_without_its_scripts_is_unavailable_at_worst(
    door: Door, redis_client: ArqRedis
) -> None:
    assert await _ask(door.lua) == 1
    await redis_client.script_flush()
    door.proxy.lose_replies(b"EVAL", times=1)  # the first try is lost, the second one finds a server without scripts
    assert await _ask(door.lua) == 1
    door.proxy.lose_replies(b"EVAL", times=2)
    with pytest.raises(Unavailable):
        await _ask(door.lua)
    assert await _ask(door.lua) == 1


async def test_a_server_that_falls_silent_is_unavailable_and_found_again(door: Door) -> None:
    assert await _ask(door.lua) == 1
    door.proxy.black_hole(new_too=True)
    refused = await asyncio.gather(*(_ask(door.lua) for _ in range(20)), return_exceptions=True)
    assert {type(error) for error in refused} == {Unavailable}
    await door.proxy.heal()
    assert await _ask(door.lua) == 1


async def test_calls_that_are_under_way_when_the_connection_breaks_are_answered_all_the_same(door: Door) -> None:
    assert await _ask(door.lua) == 1
    door.proxy.delay_s = 0.02
    asked = [asyncio.ensure_future(_ask(door.lua, f"aborts {number}")) for number in range(20)]
    await asyncio.sleep(0.03)
    assert door.proxy.cut() == 1
    assert await asyncio.gather(*asked) == [1] * 20


async def test_one_connection_is_made_however_many_ask_for_it(door: Door, redis_client: ArqRedis) -> None:
    before = len(await redis_client.client_list())
    assert await asyncio.gather(*(_ask(door.lua) for _ in range(20))) == [1] * 20
    assert len(await redis_client.client_list()) == before + 1


async def test_a_caller_who_goes_away_takes_nobody_elses_answer(door: Door) -> None:
    assert await _ask(door.lua) == 1
    door.proxy.delay_s = 0.02
    gone, staying = asyncio.ensure_future(_ask(door.lua, "one")), asyncio.ensure_future(_ask(door.lua, "two"))
    await asyncio.sleep(0.01)
    gone.cancel()
    assert await staying == 1
    assert await _ask(door.lua) == 1
    assert gone.cancelled()


async def test_what_is_no_reply_ends_the_connection_and_not_the_process(settings: Settings) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(1_000):
            writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    pipeline = Pipeline(timeout_s=1)
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    pipeline.take_over(writer)
    with pytest.raises(redis.exceptions.ConnectionError):
        await pipeline.ask("PING")
    assert pipeline.closed
    server.close()


async def test_a_process_that_waits_for_too_much_refuses_more(door: Door, settings: Settings) -> None:
    with contextlib.closing(
        Scripts(door.lua._client, msgspec.structs.replace(settings, micro_batch_pending_max=3))
    ) as lua:
        assert await _ask(lua) == 1
        door.proxy.delay_s = 0.05
        answers = await asyncio.gather(*(_ask(lua) for _ in range(5)), return_exceptions=True)
        assert [isinstance(answer, Unavailable) for answer in answers] == [False] * 3 + [True] * 2


async def test_those_who_wait_for_a_connection_are_counted_too(door: Door, settings: Settings) -> None:
    few = msgspec.structs.replace(settings, micro_batch_pending_max=3)
    with contextlib.closing(Scripts(door.lua._client, few)) as lua:
        door.proxy.delay_s = 0.02
        answers = await asyncio.gather(*(_ask(lua) for _ in range(5)), return_exceptions=True)
        assert [isinstance(answer, Unavailable) for answer in answers] == [False] * 3 + [True] * 2


async def test_a_primary_that_became_a_replica_is_left_for_whoever_has_its_address_now(
    lua: Scripts, redis_client: ArqRedis
) -> None:
    assert await _ask(lua) == 1
    before = lua._pipeline
    await redis_client.execute_command("REPLICAOF", "127.0.0.1", free_port())  # type: ignore[no-untyped-call]
    try:
        with pytest.raises(Unavailable):
            await _ask(lua)
    finally:
        await redis_client.execute_command("REPLICAOF", "NO", "ONE")  # type: ignore[no-untyped-call]
    assert await _ask(lua) == 1
    assert lua._pipeline is not before


async def test_a_process_that_stops_while_it_connects_tells_those_who_wait(door: Door) -> None:
    door.proxy.delay_s = 0.05
    asked = [asyncio.ensure_future(_ask(door.lua)) for _ in range(3)]
    await asyncio.sleep(0.02)
    door.lua.close()
    answers = await asyncio.gather(*asked, return_exceptions=True)
    assert [type(answer) for answer in answers] == [Unavailable] * 3


async def test_a_process_that_stops_asks_nobody(lua: Scripts) -> None:
    assert await _ask(lua) == 1
    lua.close()
    with pytest.raises(Unavailable, match="stopping"):
        await _ask(lua)


async def test_a_call_that_redis_refuses_is_unavailable_and_its_neighbours_are_answered(
    lua: Scripts, redis_client: ArqRedis
) -> None:
    await redis_client.set("wrong", "a string where a sorted set belongs")
    refused, answered = await asyncio.gather(_ask(lua, "wrong"), _ask(lua), return_exceptions=True)
    assert isinstance(refused, Unavailable)
    assert answered == 1


async def test_a_server_that_is_not_there_is_unavailable(settings: Settings) -> None:
    nowhere = msgspec.structs.replace(settings, redis_url=f"redis://127.0.0.1:{free_port()}/0")
    client = connect_redis(nowhere, kind=Redis)
    async with client:
        with contextlib.closing(Scripts(client, nowhere)) as lua, pytest.raises(Unavailable):
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


@contextlib.asynccontextmanager
async def _as_user(settings: Settings, client: ArqRedis, *rules: str) -> AsyncIterator[Redis]:
    """A client that may do everything but what the rules forbid."""
    await client.execute_command("ACL", "SETUSER", "limited", "on", ">secret", "~*", "&*", "+@all", *rules)  # type: ignore[no-untyped-call]
    try:
        async with connect_redis(settings, kind=Redis) as limited:
            limited.connection_pool.connection_kwargs |= {"username": "limited", "password": "secret"}
            yield limited
    finally:
        await client.execute_command("ACL", "DELUSER", "limited")  # type: ignore[no-untyped-call]


async def test_a_redis_that_may_evict_is_refused_also_where_config_is(
    settings: Settings, redis_client: ArqRedis
) -> None:
    async with _as_user(settings, redis_client, "-config") as managed:
        for client in (redis_client, managed):
            await require_no_eviction(client)
        await redis_client.config_set("maxmemory-policy", "volatile-lru")
        try:
            for client in (redis_client, managed):
                with pytest.raises(SettingsError, match=r"^REDIS_URL.*volatile-lru"):
                    await require_no_eviction(client)
        finally:
            await redis_client.config_set("maxmemory-policy", "noeviction")


async def test_a_redis_that_does_not_say_whether_it_evicts_is_refused(
    settings: Settings, redis_client: ArqRedis
) -> None:
    async with _as_user(settings, redis_client, "-info") as silent:
        with pytest.raises(SettingsError, match=r"^REDIS_URL.*INFO"):
            await require_no_eviction(silent)


async def test_a_connection_that_was_closed_while_idle_is_made_anew(settings: Settings, redis_client: ArqRedis) -> None:
    async with connect_redis(settings, kind=ArqRedis) as client:
        for _ in range(3):
            mine = await client.client_id()
            assert await redis_client.client_kill_filter(_id=str(mine))
            await asyncio.sleep(0.05)
