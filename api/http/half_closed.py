"""Answers callers that close their sending side after the request (`shutdown`, `nc -N`). aiohttp would treat them as
gone.
"""

from __future__ import annotations

from typing import Any

from aiohttp import HttpVersion, HttpVersion11, StreamReader, web
from aiohttp.web_protocol import RequestHandler

from api.http.state import MAY_BE_SILENT

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
"""The interim answer with which a caller is probed. Every HTTP/1.1 client skips interim answers, even several of them
(RFC 9110, 15.2).
"""
PROBE_EVERY_S = 0.5


class HalfClosedHandler(RequestHandler):
    """aiohttp's connection, which goes on after the caller has closed its sending side behind a whole request."""

    __slots__ = ("_last", "says_no_more")

    def __init__(self, *arguments: Any, **options: Any) -> None:  # noqa: ANN401 - aiohttp's
        super().__init__(*arguments, **options)
        self._last: tuple[HttpVersion, StreamReader] | None = None
        """The version and the body of the last request that arrived."""
        self.says_no_more = False
        """True if the caller has closed its sending side."""

    @property
    def has_nothing_waiting(self) -> bool:
        """True if no request waits behind the one that is being answered."""
        return not self._messages

    def data_received(self, data: bytes) -> None:
        """Remember the last request in the data, because aiohttp hands requests on in steps."""
        super().data_received(data)
        if self._messages:
            head, body = self._messages[-1]
            self._last = getattr(head, "version", HttpVersion11), body

    def eof_received(self) -> bool:  # type: ignore[override] # aiohttp's own closes the connection
        """True keeps the connection open.

        A caller that has left looks the same, but its system rejects what is written to it. So until an answer begins,
        an interim answer is written as a probe. Once an answer has begun that may be silent for long, nothing can be
        probed: then the caller counts as gone. So does a client of HTTP/1.0, to which nothing may be written before the
        answer.
        """
        if not self._waits_for_an_answer():
            return False
        self.says_no_more = True
        if not self._messages:
            self.close()  # this closes after the present answer; if requests wait, `finish_headers` closes after the last one
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
