"""Who takes nothing, or next to nothing, is cut off; who takes something is not, however large the piece that is written."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

import msgspec
import pytest
from aiohttp import web

from api.http.slow_readers import keep_little_unsent
from api.http.state import ANSWERS, SETTINGS
from api.http.writing import BodyWriter, answer
from api.http_errors import DoorRunner
from shared.errors import Overloaded
from shared.runtime.byte_budget import ByteBudget
from shared.settings import Settings
from tests.harness.support import eventually

SETTINGS_HERE = Settings(
    database_url="postgresql://nowhere",
    redis_url="redis://nowhere",
    write_timeout_s=0.4,
    read_bytes_per_s_min=1,
    read_grace_s=60,
    answer_bytes_max=8_000_000,
)
PIECE = b"x" * 4_000_000
SMALL = b"s" * 40_000
BUFFER_BYTES, UNSENT_BYTES = 16_384, 1_024
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Door:
    """A front door's own server around one handler, and a reader whose buffer is small."""

    def __init__(self, handler: Handler, settings: Settings) -> None:
        self.ended: list[str] = []
        self._transports: list[asyncio.Transport] = []
        self.app = web.Application()
        self.app[SETTINGS] = settings
        self.app[ANSWERS] = ByteBudget("test", total=settings.answer_bytes_max)
        self.app.router.add_get("/", self._watched(handler))
        self.listening = socket.create_server(("127.0.0.1", 0))
        keep_little_unsent(self.listening, UNSENT_BYTES)
        self.runner = DoorRunner(self.app, handler_cancellation=True, access_log=None, shutdown_timeout=0.1)

    def _watched(self, handler: Handler) -> Handler:
        async def watched(request: web.Request) -> web.StreamResponse:
            assert request.transport
            self._transports.append(request.transport)
            try:
                response = await handler(request)
            except BaseException as error:
                self.ended.append(type(error).__name__)
                raise
            self.ended.append("answered")
            return response

        return watched

    async def start(self) -> None:
        await self.runner.setup()
        await web.SockSite(self.runner, self.listening).start()

    @property
    def connections(self) -> int:
        assert self.runner.server
        return len(self.runner.server.connections)

    @property
    def unread_bytes(self) -> int:
        """What this process keeps for its readers."""
        return sum(transport.get_write_buffer_size() for transport in set(self._transports))

    async def connect(self, *, requests: int = 1, head: str = "") -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Ask, and read nothing yet; `head` is of the last request."""
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER_BYTES)
        sock.setblocking(False)  # noqa: FBT003
        await asyncio.get_running_loop().sock_connect(sock, self.listening.getsockname())
        reader, writer = await asyncio.open_connection(sock=sock, limit=BUFFER_BYTES)
        line = "GET / HTTP/1.1\r\nHost: x\r\n"
        writer.write((f"{line}\r\n" * (requests - 1) + f"{line}{head}\r\n").encode())
        return reader, writer


@asynccontextmanager
async def door_of(handler: Handler, settings: Settings = SETTINGS_HERE) -> AsyncIterator[Door]:
    door = Door(handler, settings)
    await door.start()
    try:
        yield door
    finally:
        await door.runner.cleanup()


async def download(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    async with BodyWriter(request, response) as body:
        for _ in range(2):
            await body.write(PIECE)
        await body.end()
    return response


async def large_answer(request: web.Request) -> web.StreamResponse:
    return await answer(request, PIECE, "acc_x")


async def a_moment() -> None:
    """Much less than a reader may take nothing."""
    await asyncio.sleep(SETTINGS_HERE.write_timeout_s / 8)


async def small_answer(request: web.Request) -> web.StreamResponse:
    return await answer(request, SMALL, "acc_x")


@pytest.mark.parametrize("handler", [download, large_answer])
async def test_who_takes_nothing_is_cut_off(handler: Handler) -> None:
    async with door_of(handler) as door:
        _, writer = await door.connect()
        await eventually(lambda: door.ended, "the handler has ended")
        assert door.ended[0] in {"CancelledError", "ConnectionError", "ClientConnectionResetError"}
        await eventually(lambda: not door.connections, "the connection is gone")
        assert door.app[ANSWERS].used == 0
        writer.close()


@pytest.mark.parametrize(("requests", "head"), [(8, ""), (2, "Connection: close\r\n")])
async def test_small_answers_that_nobody_reads_are_not_kept(requests: int, head: str) -> None:
    """Also those that wait behind others, and one that is left when the connection is closed."""
    async with door_of(small_answer) as door:
        _, writer = await door.connect(requests=requests, head=head)
        await eventually(lambda: door.unread_bytes, "some of it waits for the reader")
        await eventually(lambda: not door.connections, "the connection is gone")
        assert door.unread_bytes == 0
        writer.close()


@pytest.mark.parametrize("handler", [download, large_answer])
async def test_a_steady_reader_has_all_of_it_however_long_that_takes(handler: Handler) -> None:
    """Each piece takes several times as long as a reader may take nothing."""
    async with door_of(handler) as door:
        loop = asyncio.get_running_loop()
        began = loop.time()
        reader, writer = await door.connect(head="Connection: close\r\n")
        received = 0
        while data := await reader.read(BUFFER_BYTES):
            received += data.count(b"x")
            if loop.time() - began < 4 * SETTINGS_HERE.write_timeout_s:
                await a_moment()
        assert received == len(PIECE) * (2 if handler is download else 1)
        assert door.ended == ["answered"]
        writer.close()


async def test_who_takes_next_to_nothing_for_long_is_cut_off() -> None:
    demanding = msgspec.structs.replace(SETTINGS_HERE, read_bytes_per_s_min=100_000_000, read_grace_s=1.0)
    async with door_of(download, demanding) as door:
        reader, writer = await door.connect()
        with suppress(ConnectionError):
            while await reader.read(BUFFER_BYTES):
                await a_moment()
        await eventually(lambda: door.ended, "the handler has ended")
        assert door.ended != ["answered"]
        writer.close()


async def test_a_large_answer_is_counted_until_it_was_sent_and_refused_when_there_is_no_room() -> None:
    async with door_of(large_answer, msgspec.structs.replace(SETTINGS_HERE, write_timeout_s=20)) as door:
        asked = [await door.connect() for _ in range(2)]
        await eventually(lambda: door.app[ANSWERS].used == 2 * len(PIECE), "two answers are being sent")
        asked.append(await door.connect())
        await eventually(lambda: door.ended, "the third is refused")
        assert door.ended == [Overloaded.__name__]
        for reader, _ in asked[:2]:
            await reader.readuntil(b"\r\n\r\n")
            assert await reader.readexactly(len(PIECE)) == PIECE
        await eventually(lambda: door.app[ANSWERS].used == 0, "nothing is held any more")
        for _, writer in asked:
            writer.close()
