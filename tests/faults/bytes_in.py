"""What is sent to a service by those who send very many bytes, and what was answered: one entry for each abuse.

As a program it does one of them for a while, by many clients, each of which sends again as soon as it is answered. It gives
way to whoever else wants the processor: those who do such things have machines of their own.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
import time
from base64 import b64encode
from collections import Counter
from collections.abc import AsyncIterator, Callable
from typing import Any, NamedTuple

import aiohttp

from tests.harness.caller import MODEL, told
from tests.harness.servers import NICE

PNG = b"\x89PNG\r\n\x1a\n"
LARGEST = 19_900_000
UNFINISHED_FOR_S = 5.0 if os.environ.get("PROOFS") else 2.0
PROMPT_BYTES = 60_000
NODES = 5_000_000
DEPTH = 100_000
GIGABIT = 125_000_000
PIECE_BYTES = 262_144
Statuses = Counter[int]


class Line:
    """What the clients share on their way to the service: a gigabit a second. On loopback they would send three times as
    much, with processors that the service needs.
    """

    def __init__(self, bytes_per_s: float = GIGABIT) -> None:
        self._bytes_per_s = bytes_per_s
        self._free_at = 0.0

    async def carry(self, body: bytes) -> AsyncIterator[bytes]:
        """The body in pieces, each at its time."""
        for start in range(0, len(body), PIECE_BYTES):
            piece = body[start : start + PIECE_BYTES]
            now = time.monotonic()
            self._free_at = max(self._free_at, now) + len(piece) / self._bytes_per_s
            await asyncio.sleep(self._free_at - now)
            yield piece


class Sender(NamedTuple):
    """One client of an account."""

    session: aiohttp.ClientSession
    url: str
    key: str
    line: Line

    async def send(self, body: bytes, path: str = "/api/endpoint") -> int:
        """The status of the answer."""
        headers = {
            "Authorization": f"Bearer {self.key}",
            "Content-Type": "application/json",
            "Content-Length": str(len(body)),
        }
        async with self.session.post(self.url + path, data=self.line.carry(body), headers=headers) as answer:
            await answer.read()
            return answer.status

    async def send_unfinished(self, body: bytes, path: str) -> None:
        """The body without its last byte, which is waited for in vain."""
        host, _, port = self.url.removeprefix("http://").partition(":")
        _, writer = await asyncio.open_connection(host, int(port))
        head = (
            f"POST {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {self.key}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        writer.write(head.encode())
        with contextlib.suppress(ConnectionError):
            async for piece in self.line.carry(body[:-1]):
                writer.write(piece)
                await writer.drain()
        await asyncio.sleep(UNFINISHED_FOR_S)
        writer.transport.abort()


class Abuse(NamedTuple):
    """Each client sends the body that `made` makes again and again. It may be answered with the statuses `allowed`; where
    there are none, the body lacks its last byte.
    """

    made: Callable[[], bytes]
    allowed: frozenset[int]
    path: str = "/api/endpoint"


def chat(text: str, *parts: dict[str, Any]) -> bytes:
    content = [{"type": "text", "text": text}, *parts]
    body = {"model": MODEL, "messages": [{"role": "user", "content": content}], "options": {"max_tokens": 10}}
    return json.dumps(body).encode()


def image(size: int) -> dict[str, Any]:
    """A part of about `size` bytes."""
    data = b64encode(PNG + os.urandom(size // 4 * 3)).decode()
    return {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{data}"}}


def largest() -> bytes:
    return chat(told(tokens=3), image(LARGEST))


def slow_image() -> bytes:
    """Its vendor takes its time."""
    return chat(told(tokens=3, first_ms=2_000), image(14_000_000))


def refused_prompt() -> bytes:
    """The vendor refuses it, so that it costs nothing."""
    return chat(told(status=400) + os.urandom(PROMPT_BYTES // 2).hex())


def many_values() -> bytes:
    """15 MB that are nothing but brackets."""
    return chat(told(tokens=3))[:-1] + b',"tools":%s}' % (b"[" + b"[]," * NODES + b"[]]")


def deep() -> bytes:
    """A schema within a schema, and so on."""
    schema = b'{"x":' * DEPTH + b"{}" + b"}" * DEPTH
    tool = b'{"type":"function","function":{"name":"f","parameters":%s}}' % schema
    return chat(told(tokens=3))[:-1] + b',"tools":[%s]}' % tool


def blank_lines() -> bytes:
    return b"\n" * 20_000_000


BUSY = frozenset({413, 429, 503})
ABUSES = {
    "bodies of 20 MB short of a byte": Abuse(largest, frozenset()),
    "bodies of 14 MB": Abuse(slow_image, BUSY | {200}),
    "prompts of 60 KB that are refused": Abuse(refused_prompt, BUSY | {502, 400}),
    "bodies of 5,000,000 values": Abuse(many_values, BUSY | {400}),
    "bodies 100,000 levels deep": Abuse(deep, BUSY | {400}, "/v1/chat/completions"),
    "batches of 20 MB of blank lines": Abuse(blank_lines, BUSY | {400}, "/api/batches"),
}


async def done_for_a_while(name: str, url: str, key: str, clients: int, for_s: float) -> Statuses:
    """By a process of its own."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.faults.bytes_in", name, url, key, str(clients), str(for_s)),
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        said, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return Counter({int(status): times for status, times in json.loads(said).items()})


async def main(name: str, url: str, key: str, clients: str, for_s: str) -> None:
    os.nice(NICE)
    abuse = ABUSES[name]
    body = abuse.made()
    statuses: Statuses = Counter()
    until = time.monotonic() + float(for_s)

    async def client(sender: Sender) -> None:
        while time.monotonic() < until:
            if abuse.allowed:
                statuses[await sender.send(body, abuse.path)] += 1
            else:
                await sender.send_unfinished(body, abuse.path)

    line = Line()
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=None)) as session:
        await asyncio.gather(*(client(Sender(session, url, key, line)) for _ in range(int(clients))))
    sys.stdout.write(json.dumps(statuses))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
