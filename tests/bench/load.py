"""The callers: keep-alive connections on raw sockets, cheap enough to share a core with the mock."""

from __future__ import annotations

import asyncio
import time
from typing import NamedTuple, cast

from tests.bench.surfaces import FIRST_WORD

ANSWER_S = 60.0
CONNECT_S = 10.0


class Answer(NamedTuple):
    """Times are of `time.perf_counter`; `first_at` is when the first token was there."""

    status: int
    body: bytes
    asked_at: float
    first_at: float
    ended_at: float


class Caller(asyncio.Protocol):
    """One connection: `ask` sends a request and waits for the whole answer."""

    def __init__(self) -> None:
        self._received = bytearray()
        self._body_at = 0
        self._length = -1
        self._status = 0
        self._asked_at = self._first_at = 0.0
        self._begun = asyncio.Event()
        self._answer: asyncio.Future[Answer] | None = None

    async def ask(self, request: bytes) -> Answer:
        """Raises `ConnectionError` when the other side hangs up, `TimeoutError` after `ANSWER_S`."""
        answer = self._ask(request)
        async with asyncio.timeout(ANSWER_S):
            return await answer

    async def begin(self, request: bytes) -> None:
        """Send a request and wait for its first token only. Raises like `ask`."""
        self._ask(request)
        async with asyncio.timeout(ANSWER_S):
            await self._begun.wait()

    def _ask(self, request: bytes) -> asyncio.Future[Answer]:
        self._received.clear()
        self._body_at = self._status = 0
        self._first_at = 0.0
        self._begun.clear()
        self._answer = asyncio.get_running_loop().create_future()
        self._asked_at = time.perf_counter()
        self._transport.write(request)
        return self._answer

    def close(self) -> None:
        if self._answer:
            self._answer.cancel()
        self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._answer and not self._answer.done():
            said = bytes(self._received[:300])
            self._answer.set_exception(ConnectionError(f"hung up in the middle ({exc}): {said!r}"))

    def data_received(self, data: bytes) -> None:
        self._received += data
        if not self._body_at and not self._read_head():
            return
        if not self._first_at and self._received.find(FIRST_WORD, self._body_at) >= 0:
            self._first_at = time.perf_counter()
            self._begun.set()
        body = self._whole_body(data)
        if body is not None and self._answer and not self._answer.done():
            ended_at = time.perf_counter()
            self._answer.set_result(Answer(self._status, body, self._asked_at, self._first_at or ended_at, ended_at))

    def _read_head(self) -> bool:
        end = self._received.find(b"\r\n\r\n")
        if end < 0:
            return False
        head = bytes(self._received[:end]).lower()
        self._body_at = end + 4
        self._status = int(head[9:12])
        length = head.find(b"\r\ncontent-length:")
        self._length = int(head[length + 17 :].split(b"\r\n", 1)[0]) if length >= 0 else -1
        return True

    def _whole_body(self, data: bytes) -> bytes | None:
        if self._length >= 0:
            whole = len(self._received) >= self._body_at + self._length
            return bytes(self._received[self._body_at :]) if whole else None
        return dechunked(bytes(self._received), self._body_at) if data.endswith(b"0\r\n\r\n") else None


def dechunked(received: bytes, at: int) -> bytes | None:
    """The body of a chunked transfer from `at` on; None as long as its end has not come."""
    parts: list[bytes] = []
    while True:
        end = received.find(b"\r\n", at)
        if end < 0:
            return None
        size = int(received[at:end], 16)
        if size == 0:
            return b"".join(parts)
        parts.append(received[end + 2 : end + 2 + size])
        at = end + size + 4


async def connected(port: int) -> Caller:
    """A caller whose connection stands."""
    async with asyncio.timeout(CONNECT_S):
        _, caller = await asyncio.get_running_loop().create_connection(Caller, "127.0.0.1", port)
    return caller


def http_request(path: str, headers: dict[str, str], body: bytes) -> bytes:
    """The bytes of one POST."""
    lines = [f"POST {path} HTTP/1.1", "Host: 127.0.0.1", "Content-Type: application/json"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, f"Content-Length: {len(body)}", "", ""]).encode() + body
