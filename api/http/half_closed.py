"""Callers who have said all and close their side of the connection (`shutdown`, `nc -N`) get their answers: aiohttp takes
them for gone.
"""

from __future__ import annotations

from typing import Any

from aiohttp import HttpVersion, HttpVersion11, StreamReader, web
from aiohttp.web_protocol import RequestHandler

from api.http.state import MAY_BE_SILENT

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
"""Every client of HTTP/1.1 passes over it, also over several (RFC 9110, 15.2)."""
PROBE_EVERY_S = 0.5


class HalfClosedHandler(RequestHandler):
    """aiohttp's connection, which goes on when the caller has closed his side after a whole request (`shutdown`)."""

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
