"""Readers as they are: fast ones, steady ones, and those who ask and never read; and what a process takes for them."""

from __future__ import annotations

import asyncio
import json
import select
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path

CHUNK_BYTES = 65_536
MB = 1_000_000


class Reader:
    """One connection of its own on which one request is sent. Its kernel keeps little for it."""

    def __init__(self, url: str, key: str, buffer_bytes: int = 65_536) -> None:
        self._host, self._port = url.removeprefix("http://").split(":")
        self._key = key
        self._socket = socket.socket()
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer_bytes)
        self._socket.setblocking(False)  # noqa: FBT003
        self.received = bytearray()

    async def ask(self, path: str, body: object = None) -> Reader:
        """Send the request, and read nothing."""
        method, content = ("GET", b"") if body is None else ("POST", json.dumps(body).encode())
        head = [f"{method} {path} HTTP/1.1", "Host: x", f"Authorization: Bearer {self._key}", "Connection: close"]
        head += ["Content-Type: application/json", f"Content-Length: {len(content)}"] if content else []
        loop = asyncio.get_running_loop()
        await loop.sock_connect(self._socket, (self._host, int(self._port)))
        await loop.sock_sendall(self._socket, "\r\n".join([*head, "", ""]).encode() + content)
        return self

    async def read(self, pause: Callable[[int], Awaitable[None]] | None = None) -> bytes:
        """Until the connection is closed; `pause` is told how much came so far. Gives the body, as chunks are taken apart."""
        loop = asyncio.get_running_loop()
        while data := await loop.sock_recv(self._socket, CHUNK_BYTES):
            self.received += data
            if pause:
                await pause(len(self.received))
        self.close()
        return self.body

    @property
    def body(self) -> bytes:
        """Of what was received. Fails unless it came whole."""
        head, _, rest = bytes(self.received).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 "), head[:200]
        return rest if b"chunked" not in head.lower() else _unchunked(rest)

    def is_over(self) -> bool:
        """Whether the other side has closed the connection, also while what came is unread: reset, or tidily. Linux only."""
        poll = select.poll()
        poll.register(self._socket, select.POLLRDHUP)
        return bool(poll.poll(0))

    def close(self) -> None:
        self._socket.close()


def _unchunked(data: bytes) -> bytes:
    """Fails when the last chunk is missing."""
    parts: list[bytes] = []
    place = 0
    while True:
        end = data.find(b"\r\n", place)
        assert end > place, "the body broke off"
        size = int(data[place:end], 16)
        if not size:
            return b"".join(parts)
        parts.append(data[end + 2 : end + 2 + size])
        place = end + 2 + size + 2


def at_most(bytes_per_s: float) -> Callable[[int], Awaitable[None]]:
    """A steady reader's pause."""
    began = asyncio.get_running_loop().time()

    async def pause(received: int) -> None:
        await asyncio.sleep(received / bytes_per_s - (asyncio.get_running_loop().time() - began))

    return pause


class Memory:
    """What a process has resident, beyond what it had when this was made. Linux only."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        Path(f"/proc/{pid}/clear_refs").write_text("5", encoding="ascii")  # the peak begins anew (man 5 proc)
        self._idle_mb = self._read("VmRSS")

    @property
    def growth_mb(self) -> float:
        return self._read("VmRSS") - self._idle_mb

    @property
    def peak_growth_mb(self) -> float:
        return self._read("VmHWM") - self._idle_mb

    def _read(self, name: str) -> float:
        lines = Path(f"/proc/{self._pid}/status").read_text(encoding="ascii").splitlines()
        return int(next(line for line in lines if line.startswith(name)).split()[1]) * 1_024 / MB
