"""What aiohttp does by itself, done otherwise: its answer to what is no request, and its way with callers who say no more.

Its answer quotes what it could not read, which may be a key or a prompt: here it has the API's own form, without a byte of
that.
"""

from __future__ import annotations

from typing import Any

from aiohttp import HttpVersion, HttpVersion11, StreamReader, web
from aiohttp.web_protocol import RequestHandler

from api.formats.native import answers as native_answers
from api.http.state import MAY_BE_SILENT
from shared.errors import InvalidRequest
from shared.ids import new_id

MESSAGE = "The request is not valid HTTP, or its header is too large: check the client."
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
"""Every client of HTTP/1.1 passes over it, also over several (RFC 9110, 15.2)."""
PROBE_EVERY_S = 0.5


class Handler(RequestHandler):
    """aiohttp's connection with another answer to what is no request, and with answers for those who have closed their side
    after a whole request (`shutdown`): aiohttp takes them for gone.
    """

    __slots__ = ("_last", "says_no_more")

    def __init__(self, *arguments: Any, **options: Any) -> None:  # noqa: ANN401 - aiohttp's
        super().__init__(*arguments, **options)
        self._last: tuple[HttpVersion, StreamReader] | None = None
        """Of the last request that came: its version and its body."""
        self.says_no_more = False
        """The caller has closed his side."""

    @property
    def has_nothing_waiting(self) -> bool:
        """Whether no request waits behind the one that is being answered."""
        return not self._messages

    def data_received(self, data: bytes) -> None:
        """Of the requests in it the last one is remembered, because aiohttp hands them on in steps."""
        super().data_received(data)
        if self._messages:
            head, body = self._messages[-1]
            self._last = getattr(head, "version", HttpVersion11), body

    def eof_received(self) -> bool:  # type: ignore[override] # aiohttp's own closes the connection
        """True keeps the connection open. A caller who has left looks the same, but his system refuses what is written to
        him. So as long as an answer has not begun, he is written to. One that has begun and may be silent for long shows
        nothing: there he has left, and so has a client of HTTP/1.0, to whom nothing can be written before the answer.
        """
        if not self._waits_for_an_answer():
            return False
        self.says_no_more = True
        if not self._messages:
            self.close()  # behind this answer; where more are waiting, the last one says so (`finish_headers`)
        self._loop.call_later(PROBE_EVERY_S, self._probe)
        return True

    def _waits_for_an_answer(self) -> bool:
        idle = self._waiter is not None and not self._waiter.done()
        if self._last is None or idle:
            return False
        version, body = self._last
        request = self._current_request
        silent = isinstance(request, web.Request) and MAY_BE_SILENT in request and request.writer.output_size > 0
        return body.is_eof() and not silent and version >= HttpVersion11

    def _probe(self) -> None:
        request = self._current_request
        if self.transport is None or (request is not None and request.writer.output_size > 0):
            return
        if request is not None:
            self.transport.write(CONTINUE)
        self._loop.call_later(PROBE_EVERY_S, self._probe)

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,  # noqa: ARG002 - aiohttp's signature; it holds the bytes
        message: str | None = None,  # noqa: ARG002 - the same
    ) -> web.StreamResponse:
        """`invalid_request` with an id of its own; the connection is closed."""
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
    """`Expect: 100-continue` is granted; aiohttp's own answer to anything else quotes it."""
    if request.headers.get("Expect", "").strip().lower() == "100-continue":
        await request.writer.write(CONTINUE)
        request.writer.output_size = 0  # as aiohttp does: what was written is not the answer
        return None
    request_id = new_id("req")
    body = native_answers.error_json(InvalidRequest("`Expect` is 100-continue, or left out.").body(), request_id)
    headers = {"x-request-id": request_id}
    return web.Response(body=body, status=417, content_type="application/json", headers=headers)


class Server(web.Server):
    """Makes our connections."""

    def __call__(self) -> RequestHandler:
        """One connection."""
        return Handler(self, loop=self._loop, **self._kwargs)


class Runner(web.AppRunner):
    """aiohttp's runner with that server."""

    async def _make_server(self) -> web.Server:
        server = await super()._make_server()
        server.__class__ = Server
        return server
