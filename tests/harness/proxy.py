"""A TCP proxy that breaks connections on purpose: it stands between our processes and Redis, Postgres or the vendor.

| what is asked | what the two ends see |
|---|---|
| nothing | bytes pass, both ways |
| `cut` | every connection, or some, is reset; new ones pass |
| `refuse` … `heal` | every connection is reset, new ones are refused |
| `black_hole` … `heal` | connections stay open and say nothing any more; new ones are accepted and say nothing, or pass |
| `delay_s` | every piece arrives that much later, in order |
| `lose_replies` | a request that holds certain bytes is passed on, its reply is not: the connection is reset instead |
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

Address = tuple[str, int] | Path
PIECE_BYTES = 65_536


class Proxy:
    """Listens on a port of 127.0.0.1 for as long as it is open; `target` is a host and port, or the path of a socket."""

    def __init__(self, target: Address) -> None:
        self.target = target
        self.port = 0
        self.delay_s = 0.0
        self.replies_lost = 0
        self.swallows_new = False
        self._replies_to_lose = 0
        self._lost_marker = b""
        self._links: set[Link] = set()
        self._server: asyncio.Server | None = None

    async def open(self) -> None:
        """Listen; from the second time on at the same port."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        """Reset everything and stop listening."""
        if self._server is not None:
            self._server.close()
            self._server = None
        self.cut()
        await asyncio.gather(*(link.ended.wait() for link in self._links))

    def cut(self, lot: random.Random | None = None) -> int:
        """Reset every connection, or those that the lot falls on; gives how many there were."""
        links = [link for link in self._links if lot is None or lot.random() < 1 / 2]
        for link in links:
            link.reset()
        return len(links)

    async def refuse(self) -> None:
        """From now on nobody can connect."""
        await self.close()

    def black_hole(self, *, new_too: bool) -> None:
        """Every connection falls silent without ending; with `new_too` those to come do so as well."""
        self.swallows_new = new_too
        for link in self._links:
            link.silent = True

    async def heal(self) -> None:
        """Pass again; what had fallen silent is reset, as a peer does that has forgotten the connection."""
        self.swallows_new = False
        self.delay_s = 0.0
        self._replies_to_lose = 0
        for link in [link for link in self._links if link.silent]:
            link.reset()
        if self._server is None:
            await self.open()

    def lose_replies(self, marker: bytes, times: int) -> None:
        """The next `times` requests that hold `marker` are passed on and never answered."""
        self._lost_marker, self._replies_to_lose = marker, times

    def loses_reply_to(self, request: bytes) -> bool:
        """Whether the reply to this request is one of those to be lost; counts it."""
        if not self._replies_to_lose or self._lost_marker not in request:
            return False
        self._replies_to_lose -= 1
        self.replies_lost += 1
        return True

    def tail_of(self, seen: bytes) -> bytes:
        """What may be the beginning of a marker that goes on in the next piece."""
        return seen[len(seen) - len(self._lost_marker) + 1 :] if self._lost_marker else b""

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        link = Link(self, reader, writer)
        self._links.add(link)
        try:
            await link.run()
        finally:
            self._links.discard(link)
            link.ended.set()


class Link:
    """One connection through the proxy. `silent`: what comes in is swallowed."""

    def __init__(self, proxy: Proxy, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.silent = proxy.swallows_new
        self.ended = asyncio.Event()
        self._proxy = proxy
        self._client = (reader, writer)
        self._writers = [writer]
        self._awaits_lost_reply = False
        self._over = asyncio.Event()

    async def run(self) -> None:
        """Until either end is done with it; a silent connection only until it is reset."""
        upstream = None if self.silent else await self._connect()
        if upstream:
            self._writers.append(upstream[1])
            pumps = [
                asyncio.create_task(self._pump(self._client[0], upstream[1], is_request=True)),
                asyncio.create_task(self._pump(upstream[0], self._client[1], is_request=False)),
            ]
        else:
            pumps = [asyncio.create_task(self._swallow(self._client[0]))] if self.silent else []
        over = asyncio.create_task(self._over.wait())
        try:
            if pumps:
                await asyncio.wait([over, *pumps], return_when=asyncio.FIRST_COMPLETED)
            if self.silent:
                await self._over.wait()
        finally:
            await _end([over, *pumps])
            self._close()

    def reset(self) -> None:
        """End both halves at once."""
        for writer in self._writers:
            writer.transport.abort()
        self._over.set()

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter] | None:
        target = self._proxy.target
        try:
            if isinstance(target, Path):
                return await asyncio.open_unix_connection(target)
            return await asyncio.open_connection(*target)
        except OSError:
            self.reset()
            return None

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, is_request: bool) -> None:
        tail = b""
        with contextlib.suppress(OSError):
            while piece := await reader.read(PIECE_BYTES):
                if self._proxy.delay_s:
                    await asyncio.sleep(self._proxy.delay_s)
                if self.silent:
                    continue
                if is_request and self._proxy.loses_reply_to(tail + piece):
                    self._awaits_lost_reply = True
                elif not is_request and self._awaits_lost_reply:
                    self.reset()
                    return
                tail = self._proxy.tail_of(tail + piece)
                writer.write(piece)
                await writer.drain()

    async def _swallow(self, reader: asyncio.StreamReader) -> None:
        with contextlib.suppress(OSError):
            while await reader.read(PIECE_BYTES):
                pass

    def _close(self) -> None:
        for writer in self._writers:
            writer.close()


async def _end(tasks: Sequence[asyncio.Task[Any]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
