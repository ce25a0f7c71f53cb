"""Large bodies are read a piece of one at a time; what nobody wants of them is passed over in the same way."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

from aiohttp import StreamReader, web
from aiohttp.base_protocol import BaseProtocol
from aiohttp.test_utils import make_mocked_request

from api.http.read_turns import ReadTurns
from api.http.reading import pass_over_rest
from api.http.state import READS, SETTINGS
from shared.settings import Settings


async def test_each_turn_of_the_event_loop_has_one_piece_of_all_bodies() -> None:
    turns, read = ReadTurns(), list[int]()

    async def three_pieces(body: int) -> None:
        for _ in range(3):
            await turns.next()
            read.append(body)

    reading = asyncio.gather(*(three_pieces(body) for body in range(4)))
    seen = []
    while not reading.done():
        await asyncio.sleep(0)
        seen.append(len(read))
    assert max(after - before for before, after in itertools.pairwise(seen)) == 1
    assert read[:4] == [0, 1, 2, 3]


def a_request(stream: StreamReader) -> web.Request:
    app = web.Application()
    app[SETTINGS] = Settings(database_url="", redis_url="", refused_body_within_s=0.05)
    app[READS] = ReadTurns()
    return make_mocked_request("POST", "/", app=app, payload=stream)


def a_stream() -> StreamReader:
    protocol = BaseProtocol(asyncio.get_running_loop())
    protocol.connection_made(asyncio.Transport())
    return StreamReader(protocol, 2**16, loop=asyncio.get_running_loop())


async def test_the_rest_of_a_body_is_read_to_its_end_and_the_connection_stays() -> None:
    stream = a_stream()
    request = a_request(stream)
    stream.feed_data(b"rest")
    asyncio.get_running_loop().call_soon(stream.feed_eof)
    await pass_over_rest(request)
    assert stream.at_eof()
    assert not request.protocol.force_close.called  # type: ignore[attr-defined]


async def test_of_a_body_that_does_not_end_the_connection_does() -> None:
    stream = a_stream()
    request = a_request(stream)
    stream.feed_data(b"rest")
    await pass_over_rest(request)
    assert request.protocol.force_close.called  # type: ignore[attr-defined]


async def test_a_connection_that_waits_for_its_turn_holds_nothing_of_the_body() -> None:
    stream = a_stream()
    request = a_request(stream)
    stream.feed_data(b"rest")
    turns = request.app[READS]
    async with turns._lock:  # somebody else's turn
        passing = asyncio.ensure_future(pass_over_rest(request))
        await asyncio.sleep(0)
        assert (stream.total_bytes, stream._size) == (4, 0)
        transport: Any = request.transport
        assert (transport.pause_reading.call_count, transport.resume_reading.call_count) == (1, 0)
        stream.feed_eof()
    await passing
    assert transport.resume_reading.call_count == 1
