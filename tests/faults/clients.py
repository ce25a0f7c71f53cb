"""One caller's request and everything that came of it: what was sent, every byte received with its time, how it ended."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Literal

import aiohttp
import msgspec

from deploy.simulator.answer import answer, prompt_tokens
from deploy.simulator.script import Script

MODEL = "openai-gpt-4o-mini"
UPSTREAM = "gpt-4o-mini-2024-07-18"
INPUT_PRICE, OUTPUT_PRICE = 150_000_000, 600_000_000
"""Nano-USD per million tokens: the list price on 2026-11-23, written down a second time on purpose."""
SMALL_BUFFER_BYTES = 4_096
Form = Literal["raw", "sse", "json"]
AfterPiece = Callable[[], Awaitable[None]]
FORMS: tuple[Form, ...] = ("raw", "sse", "json")
Ending = Literal["running", "complete", "broken", "unreached", "left", "hung"]


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """A request to be sent. Its script tells the simulator what to answer; its key is unique."""

    form: Form
    script: Script
    max_tokens: int | None = None
    model: str = MODEL
    """One that is `UPSTREAM` at its vendor, at its prices."""

    @property
    def key(self) -> str:
        return self.script.key

    @property
    def message(self) -> str:
        """The one user message: the directive with what differs from the script's defaults."""
        given, usual = msgspec.structs.asdict(self.script), msgspec.structs.asdict(Script())
        words = [f"{name}={int(value) if isinstance(value, bool) else value}" for name, value in given.items()]
        told = [word for word, name in zip(words, given, strict=True) if given[name] != usual[name]]
        return f"[[sim {' '.join(told)}]]"

    @property
    def pieces(self) -> list[str]:
        """The answer as the vendor sends it."""
        return answer(UPSTREAM, "", self.script)

    @property
    def expected(self) -> str:
        """The whole answer."""
        return "".join(self.pieces)

    @property
    def prompt_tokens(self) -> int:
        """What the vendor counts for the message."""
        return prompt_tokens([self.message])

    def body(self) -> dict[str, object]:
        """For `POST /api/endpoint`."""
        options: dict[str, object] = {"stream": self.form != "json"}
        if self.max_tokens:
            options["max_tokens"] = self.max_tokens
        return {"model": self.model, "messages": [{"role": "user", "content": self.message}], "options": options}


class Asked(msgspec.Struct, kw_only=True):
    """A request that was sent. `complete`: the response ended tidily; `broken`: it did not; `unreached`: there was none;
    `left`: we went away; `hung`: nothing ended it in time. Times are Unix seconds. `headers` are sent besides the usual ones.
    """

    question: Question
    url: str
    sent_at: float
    status: int | None = None
    request_id: str | None = None
    pieces: list[tuple[float, bytes]] = []
    ended_at: float = 0.0
    ending: Ending = "running"
    headers: dict[str, str] = {}

    @property
    def received(self) -> bytes:
        return b"".join(data for _, data in self.pieces)

    @property
    def first_byte_at(self) -> float | None:
        """When the first byte of a successful answer came; a keep-alive comment is none."""
        said = [moment for moment, data in self.pieces if self.question.form != "sse" or b"id: " in data]
        return said[0] if said and self.status == 200 else None

    @property
    def took_s(self) -> float:
        return self.ended_at - self.sent_at


class Caller:
    """Asks with one API key and gives up after `patience_s`. Every request has a connection of its own, unless they are
    kept; with `small_buffers` a reader who takes his time is felt at the other end.
    """

    def __init__(
        self, api_key: str, patience_s: float, *, keeps_connections: bool = False, small_buffers: bool = False
    ) -> None:
        self._patience_s = patience_s
        self._session = aiohttp.ClientSession(
            headers={"Authorization": f"Bearer {api_key}"},
            connector=aiohttp.TCPConnector(
                limit=0,
                force_close=not keeps_connections,
                socket_factory=_socket_with_small_buffer if small_buffers else None,
            ),
            timeout=aiohttp.ClientTimeout(total=None),
            read_bufsize=SMALL_BUFFER_BYTES if small_buffers else 2**16,
        )

    async def close(self) -> None:
        await self._session.close()

    async def ask(self, asked: Asked, after_piece: AfterPiece | None = None) -> None:
        """Ask and read to the end, into a record that can be looked at meanwhile. Cancelling this is going away.

        `after_piece` is awaited before more is read.
        """
        asked.sent_at = time.time()
        form = {"Accept": "text/event-stream"} if asked.question.form == "sse" else {}
        request = self._session.post(
            f"{asked.url}/api/endpoint", json=asked.question.body(), headers=form | asked.headers
        )
        await self._read(asked, request, after_piece)

    async def go_on(self, asked: Asked, url: str) -> None:
        """Read the rest of a stream that broke off, at another front door: after the last event that came whole."""
        whole = asked.received.rpartition(b"\n\n")[0] + b"\n\n"
        last = whole.rpartition(b"id: ")[2].split(b"\n")[0].decode()
        asked.pieces = [(asked.first_byte_at or 0.0, whole)]
        path = f"{url}/api/requests/{asked.request_id}/stream"
        headers = {"Accept": "text/event-stream", "Last-Event-ID": last}
        await self._read(asked, self._session.get(path, headers=headers), None)

    async def _read(
        self, asked: Asked, request: AbstractAsyncContextManager[aiohttp.ClientResponse], after_piece: AfterPiece | None
    ) -> None:
        try:
            async with asyncio.timeout(self._patience_s), request as response:
                asked.status, asked.request_id = response.status, response.headers.get("x-request-id")
                async for data in response.content.iter_any():
                    asked.pieces.append((time.time(), data))
                    if after_piece:
                        await after_piece()
            asked.ending = "complete"
        except aiohttp.ClientError:
            asked.ending = "unreached" if asked.status is None else "broken"
        except TimeoutError:
            asked.ending = "hung"
        except asyncio.CancelledError:
            asked.ending = "left"
            raise
        finally:
            asked.ended_at = time.time()


def _socket_with_small_buffer(address: aiohttp.AddrInfoType) -> socket.socket:
    family, kind, protocol, _, _ = address
    connection = socket.socket(family, kind, protocol)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL_BUFFER_BYTES)
    return connection
