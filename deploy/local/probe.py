"""A minimal HTTP client: one GET."""

from __future__ import annotations

import asyncio
import contextlib
from urllib.parse import urlsplit

PROBE_S = 2.0


async def http_status(url: str, bearer: str = "") -> int | None:
    """The status of a GET of the URL (http, an address as host); None if no answer comes in time."""
    answer = await http_get(url, bearer)
    return answer and answer[0]


async def http_get(url: str, bearer: str = "") -> tuple[int, bytes] | None:
    """The status, and what follows the first line of the answer."""
    parts = urlsplit(url)
    authorization = f"Authorization: Bearer {bearer}\r\n" if bearer else ""
    request = f"GET {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\n{authorization}Connection: close\r\n\r\n"
    try:
        async with asyncio.timeout(PROBE_S):
            reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
            with contextlib.closing(writer):
                writer.write(request.encode())
                return int((await reader.readline()).split()[1]), await reader.read()
    except (OSError, ValueError, IndexError):
        return None
