"""Replaces the answers that aiohttp itself gives to unparsable requests by errors in the API's form, and watches the
readers of all answers.

aiohttp's own text quotes what it could not read, which may be a key or a prompt.
"""

from __future__ import annotations

import asyncio
from typing import Any

from aiohttp import web
from aiohttp.web_protocol import RequestHandler

from api.formats.native import answers as native_answers
from api.http.half_closed import CONTINUE, HalfClosedHandler
from api.http.slow_readers import Patience, SlowReader
from api.http.state import SETTINGS
from shared.errors import InvalidRequest
from shared.ids import new_id

MESSAGE = "The request is not valid HTTP, or its header is too large: check the client."


class Handler(HalfClosedHandler):
    """aiohttp's connection with our error answers, and with a limit for slow readers."""

    __slots__ = ("_patience", "_reader")

    def __init__(self, manager: web.Server, patience: Patience, **given: Any) -> None:  # noqa: ANN401 - aiohttp's own
        super().__init__(manager, **given)
        self._patience = patience
        self._reader: SlowReader | None = None

    def pause_writing(self) -> None:
        """The transport buffers more than its limit: the reader is slower than the writer."""
        super().pause_writing()
        if self.transport:
            self._reader_of(self.transport).wait()

    def resume_writing(self) -> None:
        """The transport's buffer is below its limit again."""
        super().resume_writing()
        if self._reader:
            self._reader.keep_up()

    def connection_lost(self, exc: BaseException | None) -> None:
        """Stop watching the reader."""
        if self._reader:
            self._reader.stop()
        super().connection_lost(exc)

    async def start(self) -> None:
        """Serve all requests of the connection. At its end, bytes that the reader does not take are not kept for ever,
        either.
        """
        transport = self.transport
        try:
            await super().start()
        finally:
            if transport and transport.get_write_buffer_size():
                self._reader_of(transport).wait()

    def _reader_of(self, transport: asyncio.Transport) -> SlowReader:
        if self._reader is None:
            self._reader = SlowReader(transport, self._patience)
        return self._reader

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,  # noqa: ARG002 - aiohttp's signature; it holds the bytes
        message: str | None = None,  # noqa: ARG002 - the same
    ) -> web.StreamResponse:
        """Answer `invalid_request` with an id of its own, and close the connection."""
        if request.writer.output_size > 0:
            raise ConnectionError("a response has begun already")
        request_id = new_id("req")
        body = native_answers.error_json(InvalidRequest(MESSAGE).body(), request_id)
        response = web.Response(
            body=body, status=status, content_type="application/json", headers={"x-request-id": request_id}
        )
        response.force_close()
        return response


async def expected(request: web.Request) -> web.StreamResponse | None:
    """Grant `Expect: 100-continue`; aiohttp's own answer to any other value quotes it."""
    if request.headers.get("Expect", "").strip().lower() == "100-continue":
        await request.writer.write(CONTINUE)
        request.writer.output_size = 0  # as aiohttp does: the interim answer does not count
        return None
    request_id = new_id("req")
    body = native_answers.error_json(InvalidRequest("`Expect` is 100-continue, or left out.").body(), request_id)
    headers = {"x-request-id": request_id}
    return web.Response(body=body, status=417, content_type="application/json", headers=headers)


class Server(web.Server):
    """Creates our connections."""

    patience: Patience

    def __call__(self) -> RequestHandler:
        """Create one connection."""
        return Handler(self, self.patience, loop=self._loop, **self._kwargs)


class DoorRunner(web.AppRunner):
    """aiohttp's runner with this server."""

    async def _make_server(self) -> web.Server:
        server: Any = await super()._make_server()
        server.__class__ = Server
        server.patience = Patience.of(self.app[SETTINGS])
        return server  # type: ignore[no-any-return]
