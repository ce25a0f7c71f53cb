"""What aiohttp answers by itself when a request cannot even be parsed: here in the API's own form, without a byte of it.

aiohttp's own text quotes what it could not read, which may be a key or a prompt.
"""

from __future__ import annotations

from aiohttp import web
from aiohttp.web_protocol import RequestHandler

from api.formats.native import answers as native_answers
from shared.errors import InvalidRequest
from shared.ids import new_id

MESSAGE = "The request is not valid HTTP, or its header is too large: check the client."


class Handler(RequestHandler):
    """aiohttp's connection with another answer to what is no request."""

    __slots__ = ()

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
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
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
