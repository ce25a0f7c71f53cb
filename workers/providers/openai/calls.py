"""Providers for APIs that speak OpenAI's protocol over HTTP.

The `openai` SDK decides the address and the headers of a request. Bodies are encoded and answers parsed here, and
aiohttp sends the bytes that the SDK would send: the SDK's own way through a call costs four times as much as everything
else, its parsed events six times.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any, Protocol

import aiohttp
import msgspec

from shared.errors import ProviderError, RebootError
from workers.long_steps import LONG_STEPS
from workers.providers.openai import errors as openai_errors
from workers.providers.openai import rate_limits
from workers.providers.openai.clients import Clients
from workers.providers.protocol import Limits, Piece, ProviderRequest
from workers.providers.wire import vendor_errors
from workers.providers.wire.coalescing import Coalescing
from workers.providers.wire.sending import WholeBody
from workers.providers.wire.sse import whole

_encode = msgspec.json.Encoder().encode


class AnswerReader(Protocol):
    """Turns one answer's bytes into pieces, and knows at the end whether there was an answer. `done` is true if nothing
    more comes.
    """

    done: bool

    def whole(self, body: bytes) -> Iterable[Piece]:
        """The pieces of an answer in one JSON body."""

    def feed(self, chunk: bytes) -> Iterable[Piece]:
        """The pieces of a stream's bytes; bytes that arrived together are handled without waiting in between."""

    def rest(self) -> Iterable[Piece]:
        """The pieces of a stream's last line, if its end is missing."""

    def end(self) -> Iterable[Piece]:
        """The last pieces. Raises `ProviderError` without the API's terminal marker."""


class OpenAIApi:
    """One API: `path` is its address, `parameters` makes a request's body, `answer` reads the answer."""

    def __init__(
        self,
        clients: Clients,
        limits: Limits,
        *,
        path: str,
        parameters: Callable[[ProviderRequest], dict[str, Any]],
        answer: Callable[[ProviderRequest], AnswerReader],
    ) -> None:
        self._clients = clients
        self._coalescing = Coalescing(limits.coalesce_s)
        self._path = path
        self._parameters = parameters
        self._answer = answer

    async def close(self) -> None:
        """Close the clients."""
        await self._clients.close()

    async def stream(self, request: ProviderRequest) -> AsyncGenerator[Piece, None]:
        """Make one call, see `protocol.py`."""
        answer = self._answer(request)
        async with self._called(request) as response:
            if used_up := rate_limits.used_up(response.headers):
                yield used_up
            if not request.stream:
                for piece in answer.whole(await whole(response.content.iter_any())):
                    yield piece
            else:
                with self._coalescing.stream(response) as reads:
                    while chunk := await reads.read():
                        for piece in answer.feed(chunk):
                            yield piece
                        if answer.done:
                            break
                        await reads.pause(len(chunk))
        for piece in answer.rest():
            yield piece
        for piece in answer.end():
            yield piece

    @asynccontextmanager
    async def _called(self, request: ProviderRequest) -> AsyncIterator[aiohttp.ClientResponse]:
        """Make the call and give the answer, unread. Raises the error of a refusal or a broken connection, also while
        the answer is read.
        """
        clients = self._clients
        head = await clients.head_of(self._path)
        async with LONG_STEPS.one(request.footprint):
            body = WholeBody(_encode(self._parameters(request)))
        try:
            async with clients.session.post(head.url, data=body, headers=head.headers, proxy=head.proxy) as response:
                if not response.ok:
                    raise await _refusal(response)
                yield response
        except aiohttp.ConnectionTimeoutError as error:
            raise vendor_errors.unreachable() from error
        except aiohttp.ServerTimeoutError as error:
            raise vendor_errors.timed_out() from error
        except aiohttp.ClientError as error:
            raise vendor_errors.disconnected() from error


async def _refusal(response: aiohttp.ClientResponse) -> RebootError:
    try:
        body = msgspec.json.decode(await whole(response.content.iter_any()))
    except (msgspec.DecodeError, ProviderError, ValueError, RecursionError):
        body = None
    error = body.get("error", body) if isinstance(body, dict) else body
    return openai_errors.from_status(response.status, error, response.headers)
