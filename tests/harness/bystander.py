"""One who asks for little beside others who ask for much: in a process of its own, so that only the service keeps it waiting.

As a program it asks until its standard input is closed, then prints how many seconds each answer took and what was refused.
"""

from __future__ import annotations

import asyncio
import http.client
import json
import select
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec

PAUSE_S = 0.02
TIMEOUT_S = 60.0


class Waits(msgspec.Struct):
    """Filled when its block ends."""

    took_s: list[float] = []
    refused: dict[str, int] = {}


@asynccontextmanager
async def bystander(url: str, key: str, model: str, message: str) -> AsyncIterator[Waits]:
    """Asks, one request after the other, for as long as the block lasts."""
    waits = Waits()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.harness.bystander", url, key, model, message),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        yield waits
        said, _ = await process.communicate(b"")  # which closes its input
        found = msgspec.json.decode(said, type=Waits)
        waits.took_s, waits.refused = found.took_s, found.refused
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


def main(url: str, key: str, model: str, message: str) -> None:
    connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=TIMEOUT_S)
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    body = json.dumps(
        {"model": model, "messages": [{"role": "user", "content": message}], "options": {"max_tokens": 10}}
    )
    waits = Waits()
    while not select.select([sys.stdin], [], [], PAUSE_S)[0]:
        began = time.monotonic()
        connection.request("POST", "/api/endpoint", body, headers)
        answer = connection.getresponse()
        answer.read()
        waits.took_s.append(time.monotonic() - began)
        if answer.status != http.client.OK:
            waits.refused[str(answer.status)] = waits.refused.get(str(answer.status), 0) + 1
    sys.stdout.buffer.write(msgspec.json.encode(waits))


if __name__ == "__main__":
    main(*sys.argv[1:])
