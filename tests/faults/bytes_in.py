"""What is sent to a service by those who send very many bytes, and what was answered: one entry for each abuse.

As a program it does one of them again and again for a while. It gives way to whoever else wants the processor: those who
do such things have machines of their own.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from base64 import b64encode
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

import aiohttp

from tests.harness.caller import MODEL, told

PNG = b"\x89PNG\r\n\x1a\n"
LARGEST = 19_900_000
UNFINISHED_FOR_S = 5.0 if os.environ.get("PROOFS") else 2.0
PROMPTS_PER_CLIENT, PROMPT_BYTES = 10, 60_000
NODES = 5_000_000
DEPTH = 100_000
NICE = 19
Statuses = Counter[int]


class Sender(NamedTuple):
    """So many clients at once, with one key."""

    session: aiohttp.ClientSession
    url: str
    key: str
    clients: int

    async def send(self, body: bytes, path: str = "/api/endpoint") -> int:
        """The status of the answer."""
        headers = {"Authorization": f"Bearer {self.key}", "Content-Type": "application/json"}
        async with self.session.post(self.url + path, data=body, headers=headers) as answer:
            await answer.read()
            return answer.status

    async def send_all(self, body: bytes, path: str = "/api/endpoint") -> Statuses:
        """Each client the same."""
        return Counter(await asyncio.gather(*(self.send(body, path) for _ in range(self.clients))))


class Abuse(NamedTuple):
    """`run` does it once; the statuses that it may be answered with are `allowed`."""

    run: Callable[[Sender], Awaitable[Statuses]]
    allowed: frozenset[int]


def chat(text: str, *parts: dict[str, Any]) -> bytes:
    content = [{"type": "text", "text": text}, *parts]
    body = {"model": MODEL, "messages": [{"role": "user", "content": content}], "options": {"max_tokens": 10}}
    return json.dumps(body).encode()


def image(size: int) -> dict[str, Any]:
    """A part of about `size` bytes."""
    data = b64encode(PNG + os.urandom(size // 4 * 3)).decode()
    return {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{data}"}}


async def unfinished(sender: Sender) -> Statuses:
    """The largest bodies without their last byte."""
    body = chat(told(tokens=3), image(LARGEST))
    host, _, port = sender.url.removeprefix("http://").partition(":")
    writers = [(await asyncio.open_connection(host, int(port)))[1] for _ in range(sender.clients)]
    head = (
        f"POST /api/endpoint HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {sender.key}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    for writer in writers:
        writer.writelines((head.encode(), body[:-1]))
    await asyncio.sleep(UNFINISHED_FOR_S)
    for writer in writers:
        writer.transport.abort()
    return Counter()


async def images(sender: Sender) -> Statuses:
    """Bodies of 14 MB whose vendor takes its time."""
    return await sender.send_all(chat(told(tokens=3, first_ms=2_000), image(14_000_000)))


async def refused_prompts(sender: Sender) -> Statuses:
    """Prompts that the vendor refuses, so that they cost nothing."""
    body = chat(told(status=400) + os.urandom(PROMPT_BYTES // 2).hex())
    return sum([await sender.send_all(body) for _ in range(PROMPTS_PER_CLIENT)], Counter())


async def many_values(sender: Sender) -> Statuses:
    """Bodies of 15 MB that are nothing but brackets."""
    tools = b"[" + b"[]," * NODES + b"[]]"
    return await sender.send_all(chat(told(tokens=3))[:-1] + b',"tools":%s}' % tools)


async def deep(sender: Sender) -> Statuses:
    """A schema within a schema, and so on."""
    schema = b'{"x":' * DEPTH + b"{}" + b"}" * DEPTH
    tool = b'{"type":"function","function":{"name":"f","parameters":%s}}' % schema
    return await sender.send_all(chat(told(tokens=3))[:-1] + b',"tools":[%s]}' % tool, "/v1/chat/completions")


async def blank_lines(sender: Sender) -> Statuses:
    """Files of a batch without a line in them."""
    return await sender.send_all(b"\n" * 20_000_000, "/api/batches")


BUSY = frozenset({413, 429, 503})
ABUSES = {
    "bodies of 20 MB short of a byte": Abuse(unfinished, frozenset()),
    "bodies of 14 MB": Abuse(images, BUSY | {200}),
    "prompts of 60 KB that are refused": Abuse(refused_prompts, BUSY | {502, 400}),
    "bodies of 5,000,000 values": Abuse(many_values, BUSY | {400}),
    "bodies 100,000 levels deep": Abuse(deep, BUSY | {400}),
    "batches of 20 MB of blank lines": Abuse(blank_lines, BUSY | {400}),
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
    statuses: Statuses = Counter()
    until = time.monotonic() + float(for_s)
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=None)) as session:
        while time.monotonic() < until:
            statuses += await ABUSES[name].run(Sender(session, url, key, int(clients)))
    sys.stdout.write(json.dumps(statuses))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
