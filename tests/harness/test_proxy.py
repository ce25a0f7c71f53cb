"""The fault proxy itself: what it does to a connection is what it says."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from tests.harness.proxy import Proxy

SILENT_S = 0.05
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@pytest.fixture
async def proxy() -> AsyncIterator[Proxy]:
    """In front of a server that echoes lines."""

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            writer.write(line)
        writer.close()

    async with await asyncio.start_server(echo, "127.0.0.1", 0) as server:
        proxy = Proxy(server.sockets[0].getsockname()[:2])
        await proxy.open()
        yield proxy
        await proxy.close()


async def connect(proxy: Proxy) -> Streams:
    return await asyncio.open_connection("127.0.0.1", proxy.port)


async def says(streams: Streams, line: bytes) -> bytes:
    streams[1].write(line)
    return await asyncio.wait_for(streams[0].readline(), SILENT_S)


async def is_reset(streams: Streams) -> bool:
    try:
        return await streams[0].read() == b""
    except ConnectionResetError:
        return True


async def test_bytes_pass_until_the_connection_is_cut_and_a_new_one_passes_again(proxy: Proxy) -> None:
    streams = await connect(proxy)
    assert await says(streams, b"one\n") == b"one\n"
    assert proxy.cut() == 1
    assert await is_reset(streams)
    assert await says(await connect(proxy), b"two\n") == b"two\n"


async def test_nobody_can_connect_while_it_refuses(proxy: Proxy) -> None:
    await proxy.refuse()
    with pytest.raises(ConnectionRefusedError):
        await connect(proxy)
    await proxy.heal()
    assert await says(await connect(proxy), b"again\n") == b"again\n"


@pytest.mark.parametrize("new_too", [False, True])
async def test_a_black_hole_says_nothing_and_ends_nothing_until_it_is_healed(proxy: Proxy, *, new_too: bool) -> None:
    old = await connect(proxy)
    assert await says(old, b"one\n") == b"one\n"
    proxy.black_hole(new_too=new_too)
    with pytest.raises(TimeoutError):
        await says(old, b"two\n")
    new = await connect(proxy)
    if new_too:
        with pytest.raises(TimeoutError):
            await says(new, b"three\n")
    else:
        assert await says(new, b"three\n") == b"three\n"
    await proxy.heal()
    assert await is_reset(old)
    assert await says(await connect(proxy), b"four\n") == b"four\n"


async def test_a_lost_reply_reaches_nobody_although_the_request_arrived(proxy: Proxy) -> None:
    proxy.lose_replies(b"settle", times=1)
    streams = await connect(proxy)
    assert await says(streams, b"reserve\n") == b"reserve\n"
    streams[1].write(b"set")
    await streams[1].drain()
    streams[1].write(b"tle\n")
    assert await is_reset(streams)
    assert proxy.replies_lost == 1
    assert await says(await connect(proxy), b"settle\n") == b"settle\n"
