from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import struct
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import aiohttp
import pytest
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from workers.providers.wire.coalescing import TRICKLE_BYTES, Coalescing, StreamReads

GAP_S = 0.04
MANY = 60
CHUNKS = 20


class Vendor:
    """Streams a byte for each `go_on`, or `CHUNKS` bytes, one every few milliseconds, where the path is `/paced`."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self._session = session
        self._url = url

    async def answer(self, path: str = "/") -> aiohttp.ClientResponse:
        return await self._session.get(self._url + path)


class Server:
    def __init__(self) -> None:
        self.more = asyncio.Semaphore(0)
        self.over = asyncio.Event()

    def break_off(self) -> None:
        """Whatever streams."""
        self.over.set()
        self.more.release()

    async def stream(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        if request.path == "/paced":
            for number in range(CHUNKS):
                await response.write(bytes([number]))
                await asyncio.sleep(0.005)
            return response
        while not self.over.is_set():
            await self.more.acquire()
            await response.write(b"x")
        assert request.transport is not None
        request.transport.abort()
        return response


@pytest.fixture
async def server() -> Server:
    return Server()


@pytest.fixture
async def vendor(server: Server) -> AsyncIterator[Vendor]:
    app = web.Application()
    app.router.add_get("/{path:.*}", server.stream)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=MANY * 2)) as session:
        yield Vendor(session, f"http://127.0.0.1:{runner.addresses[0][1]}")
    server.break_off()
    await runner.cleanup()


async def _reads_of(coalescing: Coalescing, vendor: Vendor) -> list[bytes]:
    async with await vendor.answer("/paced") as response:
        with coalescing.stream(response) as reads:
            chunks = []
            while chunk := await reads.read():
                chunks.append(chunk)
                await reads.pause(len(chunk))
            return chunks


class Stream(NamedTuple):
    """One answer, and how it is read."""

    response: aiohttp.ClientResponse
    reads: StreamReads


@contextlib.asynccontextmanager
async def _a_stream(vendor: Vendor, others: int = MANY) -> AsyncIterator[Stream]:
    """While so many others are open."""
    coalescing = Coalescing(GAP_S)
    async with await vendor.answer() as response:
        with contextlib.ExitStack() as stack:
            for _ in range(others):
                stack.enter_context(coalescing.stream(response))
            yield Stream(response, stack.enter_context(coalescing.stream(response)))


async def _waits(reads: StreamReads, read_bytes: int) -> bool:
    """Whether a pause takes any time at all."""
    pausing = asyncio.ensure_future(reads.pause(read_bytes))
    await asyncio.sleep(0)
    waits = not pausing.done()
    await pausing
    return waits


async def _to_the_end(reads: StreamReads) -> None:
    while await reads.read():
        await reads.pause(1)


def _is_read(response: aiohttp.ClientResponse) -> bool:
    assert response.connection is not None
    assert isinstance(response.connection.transport, asyncio.ReadTransport)
    return response.connection.transport.is_reading()


async def test_what_many_trickling_streams_bring_is_read_together_and_nothing_is_lost(vendor: Vendor) -> None:
    coalescing = Coalescing(GAP_S)
    reads = await asyncio.gather(*(_reads_of(coalescing, vendor) for _ in range(MANY)))
    assert {b"".join(chunks) for chunks in reads} == {bytes(range(CHUNKS))}
    assert sum(map(len, reads)) < MANY * CHUNKS * 3 / 4


async def test_few_streams_are_read_as_they_come(vendor: Vendor, server: Server) -> None:
    async with _a_stream(vendor, others=0) as (_, reads):
        for _ in range(CHUNKS):
            server.more.release()
            assert await reads.read() == b"x"
            assert not await _waits(reads, 1)


async def test_neither_the_beginning_nor_a_fast_stream_is_kept_waiting(vendor: Vendor) -> None:
    async with _a_stream(vendor) as (_, reads):
        assert not await _waits(reads, 1)
        assert not await _waits(reads, TRICKLE_BYTES + 1)
        assert await _waits(reads, 1)


async def test_a_stream_whose_pause_is_cancelled_is_read_again(vendor: Vendor, server: Server) -> None:
    async with _a_stream(vendor) as (response, reads):
        await reads.pause(1)
        pausing = asyncio.ensure_future(reads.pause(1))
        await asyncio.sleep(0)
        assert not _is_read(response)
        pausing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await pausing
        assert _is_read(response)
        server.more.release()
        assert await reads.read() == b"x"


async def test_a_stream_that_breaks_off_during_a_pause_breaks_off(vendor: Vendor, server: Server) -> None:
    async with _a_stream(vendor) as (_, reads):
        await reads.pause(1)
        server.break_off()
        await reads.pause(1)
        with pytest.raises(aiohttp.ClientError):
            await _to_the_end(reads)


async def test_a_stream_that_we_close_during_a_pause_stays_closed(vendor: Vendor) -> None:
    async with _a_stream(vendor) as (response, reads):
        await reads.pause(1)
        pausing = asyncio.ensure_future(reads.pause(1))
        await asyncio.sleep(0)
        response.close()
        await pausing
        with pytest.raises(aiohttp.ClientError):
            await reads.read()


@pytest.mark.parametrize(("streams", "gap_s"), [(1, 0.0), (19, 0.0), (20, 0.01), (60, 0.03), (80, 0.04), (5_000, 0.04)])
async def test_the_gap_grows_with_the_streams_up_to_its_limit(vendor: Vendor, streams: int, gap_s: float) -> None:
    coalescing = Coalescing(GAP_S)
    async with await vendor.answer("/paced") as response:
        with contextlib.ExitStack() as stack:
            for _ in range(streams):
                stack.enter_context(coalescing.stream(response))
            assert coalescing.gap_s() == pytest.approx(gap_s)
        assert coalescing.gap_s() == 0


async def test_over_tls_what_came_whole_is_whole_although_the_vendor_resets_during_a_pause(tmp_path: Path) -> None:
    answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n"
    paused, rest = asyncio.Event(), b"1\r\nb\r\n1\r\nc\r\n0\r\n\r\n"

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        await paused.wait()
        writer.write(rest)
        await asyncio.sleep(0.005)
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=_own_certificate(tmp_path))
    url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    coalescing = Coalescing(0.1)
    async with aiohttp.ClientSession() as session, session.get(url, ssl=False) as response:
        with contextlib.ExitStack() as stack:
            for _ in range(MANY * 4):
                stack.enter_context(coalescing.stream(response))
            reads = stack.enter_context(coalescing.stream(response))
            said = await reads.read()
            await reads.pause(1)
            paused.set()
            await reads.pause(1)
            while chunk := await reads.read():
                said += chunk
    assert said == b"abc"
    server.close()


def _own_certificate(folder: Path) -> ssl.SSLContext:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    certificate = builder.not_valid_before(now).not_valid_after(now + timedelta(days=1)).sign(key, hashes.SHA256())
    file = folder / "own.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    file.write_bytes(private + certificate.public_bytes(serialization.Encoding.PEM))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    return context
