"""Where a call stands when its caller leaves: what a cancelled request is charged hangs on it."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import weakref
from collections.abc import AsyncIterator
from types import SimpleNamespace

import pytest

from deploy.simulator.app import Running
from shared.chat import Message
from shared.errors import RebootError
from tests.conformance.cases import (
    CASES,
    LIMITS,
    PATIENCE_S,
    Case,
    Vendors,
    environment,
    new_key,
    over,
    promise,
    request,
    streaming,
)
from tests.harness.support import free_port
from workers.providers.loading import load_apis
from workers.providers.protocol import Provider
from workers.providers.wire.sending import sending
from workers.providers.wire.vendor_errors import Redirected

BODY_THAT_NEVER_ENDS = (
    b"HTTP/1.1 %d Refused\r\nContent-Type: application/json\r\nx-amzn-RequestId: 1\r\nContent-Length: 99\r\n\r\n{"
)
HEAD = (
    b"HTTP/1.1 %d Moved\r\nLocation: %s\r\nContent-Type: application/json\r\nx-amzn-RequestId: 1\r\n"
    b"Content-Length: 2\r\nConnection: close\r\n\r\n{}"
)
LARGE_BYTES = 15_000_000
"""More than the system keeps of a connection that nobody reads."""
OVER_HTTP = over(*(case for case in CASES if case.api != "openai-realtime"))
"""Realtime asks its question only when its socket has been opened."""


class Heard:
    """What the provider says of its call."""

    def __init__(self) -> None:
        self.said: list[bool] = []
        self._changed = asyncio.Event()

    def __call__(self, with_vendor: bool) -> None:  # noqa: FBT001 - what a provider tells
        self.said.append(with_vendor)
        self._changed.set()

    async def until(self, said: list[bool]) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while self.said != said:
                self._changed.clear()
                await self._changed.wait()


async def call(provider: Provider, case: Case, directive: str, heard: Heard, text: str = "Hello") -> None:
    asked = request(case, directive, messages=(Message("user", text),))
    with sending(heard):
        async with contextlib.aclosing(provider.stream(asked)) as pieces:
            async for _ in pieces:
                pass


@contextlib.asynccontextmanager
async def calling(provider: Provider, case: Case, directive: str = "", text: str = "Hello") -> AsyncIterator[Heard]:
    """A call under way, which is left at the end."""
    heard = Heard()
    task = asyncio.create_task(call(provider, case, directive, heard, text))
    try:
        yield heard
    finally:
        task.cancel()
        await asyncio.wait([task])


@contextlib.asynccontextmanager
async def at_address(case: Case, base: str) -> AsyncIterator[Provider]:
    """The provider with a vendor of ours."""
    names = {
        name: f"{base}{path}" for name, path in (("openai", "/v1"), ("deepseek", ""), ("gemini", ""), ("bedrock", ""))
    }
    where = environment(SimpleNamespace(**names))  # type: ignore[arg-type] # the addresses are all that is read of it
    provider = load_apis(case.model.provider, where, LIMITS)[case.api]
    try:
        yield provider
    finally:
        await provider.close()


@promise("a call that the vendor has not answered is with the vendor")
@over()
async def test_with_the_vendor(vendors: Vendors, case: Case) -> None:
    key = new_key()
    async with calling(vendors.providers[case.api], case, f"first_ms=60000 fault=slow_headers key={key}") as heard:
        await heard.until([True])
        await vendors.simulator.calls.until(lambda log: bool(log.find(key)))
        assert heard.said == [True]


@promise("an answer says that the vendor has accepted the call, a refusal does not")
@OVER_HTTP
@pytest.mark.parametrize(("directive", "accepted"), [("tokens=1", True), ("fault=cut", True), ("status=500", False)])
async def test_accepted(vendors: Vendors, case: Case, directive: str, *, accepted: bool) -> None:
    asked = request(case, directive, messages=(Message("user", "Hello"),))
    with sending(Heard()) as stands, contextlib.suppress(RebootError):
        async with contextlib.aclosing(vendors.providers[case.api].stream(asked)) as pieces:
            async for _ in pieces:
                pass
    assert stands.accepted == accepted


@promise("an idle connection keeps nothing of the call that it was opened for")
@OVER_HTTP
async def test_connections_keep_no_request(simulator: Running, case: Case) -> None:
    """They live on, and each of them would keep the largest request that it ever was opened for."""
    provider = load_apis(case.model.provider, environment(simulator), LIMITS)[case.api]
    try:
        heard = Heard()
        gone = weakref.ref(heard)
        await call(provider, case, "", heard)
        assert heard.said == [True]
        del heard
        gc.collect()
        assert gone() is None
    finally:
        await provider.close()


@promise("a vendor that nobody reaches has nothing")
@over()
async def test_unreached(case: Case) -> None:
    heard = Heard()
    async with at_address(case, f"http://127.0.0.1:{free_port()}") as provider:
        with pytest.raises(RebootError):
            await call(provider, case, "", heard)
    assert heard.said == []


@promise("a connection that does not come about brings the vendor nothing")
@over()
async def test_connecting(case: Case) -> None:
    """TLS is asked of a server that says nothing: the connection is never ready for a request."""
    hello = asyncio.Event()

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        hello.set()
        await reader.read()
        writer.close()

    async with await asyncio.start_server(silent, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        async with at_address(case, f"https://127.0.0.1:{port}") as provider, calling(provider, case) as heard:
            async with asyncio.timeout(PATIENCE_S):
                await hello.wait()
            assert heard.said == []


@promise("a proxy that has been asked for a connection is not the vendor")
@over()
async def test_connecting_through_a_proxy(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    """The proxy lets it through, and then nobody says a word."""
    hello = asyncio.Event()

    async def proxy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"CONNECT ")
        writer.write(b"HTTP/1.1 200 Connected\r\n\r\n")
        await reader.read(1)
        hello.set()
        await reader.read()
        writer.close()

    async with await asyncio.start_server(proxy, "127.0.0.1", 0) as server:
        address = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        for name in ("NO_PROXY", "no_proxy", "https_proxy"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("HTTPS_PROXY", address)
        async with at_address(case, "https://vendor.invalid") as provider, calling(provider, case) as heard:
            async with asyncio.timeout(PATIENCE_S):
                await hello.wait()
            assert heard.said == []


@promise("a vendor that has read only a part of a request does not have it")
@OVER_HTTP
async def test_half_a_request(case: Case) -> None:
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def read_slowly(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        await reader.readexactly(LARGE_BYTES // 10)
        begun.set()
        await go_on.wait()
        while await reader.read(LARGE_BYTES):
            pass
        writer.close()

    async with await asyncio.start_server(read_slowly, "127.0.0.1", 0) as server:
        base = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with at_address(case, base) as provider, calling(provider, case, text="x" * LARGE_BYTES) as heard:
            async with asyncio.timeout(PATIENCE_S):
                await begun.wait()
            assert heard.said == []
            go_on.set()
            await heard.until([True])


@promise("a refusal is one, too, when the vendor has read only a part of the request")
@OVER_HTTP
async def test_refused_half_way(case: Case) -> None:
    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(HEAD % (429, b"/elsewhere"))
        while await reader.read(LARGE_BYTES):
            pass
        writer.close()

    heard = Heard()
    async with await asyncio.start_server(refuse, "127.0.0.1", 0) as server:
        base = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with at_address(case, base) as provider:
            with pytest.raises(RebootError):
                await call(provider, case, "", heard, text="x" * LARGE_BYTES)
    assert heard.said[-1] is False


@promise("a redirect is an error for the operator, and nobody follows it")
@over()
async def test_redirect(case: Case) -> None:
    """The Realtime socket is redirected in its handshake, when nothing has been asked yet."""
    asked: list[bytes] = []
    heads: list[bytes] = []

    async def redirect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(heads[-1])
        await reader.read()
        writer.close()

    async with (
        await asyncio.start_server(lambda *_: None, "127.0.0.1", 0) as elsewhere,
        await asyncio.start_server(redirect, "127.0.0.1", 0) as server,
        at_address(case, f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}") as provider,
    ):
        port = elsewhere.sockets[0].getsockname()[1]
        for status, there in ((307, "/there"), (302, f"http://127.0.0.1:{port}/"), (308, f"ws://127.0.0.1:{port}/")):
            asked.clear()
            heads.append(HEAD % (status, there.encode()))
            heard = Heard()
            with pytest.raises(Redirected, match="leads to another one, which is not followed"):
                await call(provider, case, "", heard)
            assert len(asked) == 1
            assert heard.said == ([] if case.api == "openai-realtime" else [True, False])


@promise("a refusal is one as soon as its status is there")
@over()
async def test_refusal_that_does_not_end(case: Case) -> None:
    """The Realtime socket is refused in its handshake, when nothing has been asked yet."""
    asked = asyncio.Event()

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        asked.set()
        writer.write(BODY_THAT_NEVER_ENDS % 503)
        await reader.read()
        writer.close()

    async with await asyncio.start_server(refuse, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        async with at_address(case, f"http://127.0.0.1:{port}") as provider, calling(provider, case) as heard:
            async with asyncio.timeout(PATIENCE_S):
                await asked.wait()
            await heard.until([] if case.api == "openai-realtime" else [True, False])


@promise("text that came together tells in how many pieces the vendor sent it")
@streaming()
async def test_pieces(vendors: Vendors, case: Case) -> None:
    got = await vendors.ask(case, "tokens=60 size=1")
    assert got.error is None
    assert got.text_pieces == 60
