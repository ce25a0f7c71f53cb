"""Answers a caller in the form of its API: at once, with the whole answer, or with a stream."""

from __future__ import annotations

from collections.abc import AsyncIterator
from functools import partial
from typing import TYPE_CHECKING

import msgspec
from aiohttp import web

from api.formats.native.answers import result_json
from api.http.state import REQUEST_ID
from api.http.writing import answer
from api.requests.answer_headers import AnswerHeaders
from api.requests.log import State
from api.requests.streaming import send_stream
from api.services import SERVICES
from shared.errors import EndUnknown, Overloaded
from shared.job import Done, Event, Failed, Served

if TYPE_CHECKING:
    from api.wanted import Wanted
    from shared.ledger.api_keys import ApiKey

NO_ROOM = (
    "The answer is there and is charged, but so many are being sent that there is no room for it: it is in"
    " GET /api/requests/{id}."
)


class Accepted(msgspec.Struct, frozen=True, kw_only=True):
    """A request whose answer is to be fetched at `Location`."""

    id: str
    """The request's id, `req_…`."""
    state: State
    """The state of the request: `queued`, or for a repeat the state of the first request."""


class Reply:
    """The reply to one caller. `first` is the model of the request that is asked first, `headers` makes its headers."""

    def __init__(self, request: web.Request, key: ApiKey, wanted: Wanted, first: str, headers: AnswerHeaders) -> None:
        self._request = request
        self._owner = key.account_id
        self._wanted = wanted
        self._first = first
        self._headers = headers
        self._settings = request.app[SERVICES].settings

    async def at_once(self, state: State, *, respond_async: bool) -> web.StreamResponse:
        """The reply to a caller that does not wait for the end: 202 with `respond_async`, otherwise what its API says of a
        request that runs.
        """
        headers = self._headers.of_model(self._first)
        if respond_async or self._wanted.at_once is None:
            return self._accepted(state, headers)
        said = self._wanted.at_once(self._request[REQUEST_ID], self._first)
        return await answer(self._request, said, self._owner, headers=headers)

    async def answer_with(self, events: AsyncIterator[Event]) -> web.StreamResponse:
        """The reply made of the request's events, as a stream if the caller wants one."""
        return await (self._stream(events) if self._wanted.stream else self._whole(events))

    def _accepted(self, state: State, headers: dict[str, str]) -> web.Response:
        request_id = self._request[REQUEST_ID]
        return web.Response(
            body=result_json(Accepted(id=request_id, state=state)),
            status=202,
            content_type="application/json",
            headers=headers | {"Location": f"/api/requests/{request_id}", "Preference-Applied": "respond-async"},
        )

    async def _stream(self, events: AsyncIterator[Event]) -> web.StreamResponse:
        request, made = self._request, self._headers
        form = self._wanted.form.stream(request.headers.get("Accept", ""), request[REQUEST_ID], self._first)
        later = partial(made.of, self._first) if made.has_chain else None
        headers = made.first(self._first)
        return await send_stream(request, events, form, headers, self._settings, self._owner, served_headers=later)

    async def _whole(self, events: AsyncIterator[Event]) -> web.StreamResponse:
        served = self._first
        async for event in events:
            match event:
                case Served(model):
                    served = model
                case Done():
                    return await self._succeeded(event, served)
                case Failed():
                    return await self._failed(event, served)
                case _:
                    pass  # these are parts of an answer that another call reads as a stream
        raise AssertionError("a follower ends with Done or Failed")

    async def _succeeded(self, done: Done, served: str) -> web.StreamResponse:
        body = self._wanted.form.answer(done, self._request[REQUEST_ID], served)
        headers, within_s = self._headers.of(served), self._settings.answer_within_s
        try:
            return await answer(self._request, body, self._owner, headers=headers, within_s=within_s)
        except Overloaded:
            raise EndUnknown(NO_ROOM) from None

    async def _failed(self, failed: Failed, served: str) -> web.StreamResponse:
        if self._wanted.failed is None:
            raise failed.as_error()
        body = self._wanted.failed(failed, self._request[REQUEST_ID], served)
        return await answer(self._request, body, self._owner, headers=self._headers.of(served))
