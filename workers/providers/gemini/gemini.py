"""Google's Gemini Developer API, by `google-genai`.

The SDK makes requests and errors; an answer that has begun is read as bytes and parsed here. The SDK's parsed events
cost twenty times as much, the SDK takes a comment in a stream for broken JSON, and it does not close the vendor's
connection if a reader stops early.

Wire format: ai.google.dev/api/generate-content (v1beta, read 2026-11).
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import msgspec
from google import genai
from google.genai import types
from google.genai.errors import APIError, UnknownApiResponseError

from shared.chat import CallPiece
from shared.lanes import ServiceTier
from shared.money import Usage
from shared.thoughts import ThoughtPiece
from workers.providers.gemini import errors as gemini_errors
from workers.providers.gemini.request import large_fields, parameters
from workers.providers.gemini.wire import Body, Part
from workers.providers.protocol import Finished, Limits, Piece, ProviderRequest, Reported, ServedAt, Thinking
from workers.providers.wire import vendor_errors
from workers.providers.wire.callers_faults import forbidden
from workers.providers.wire.large_fields import put_in, translated, whole_body
from workers.providers.wire.sending import PIECE_BYTES, under_way
from workers.providers.wire.sse import data_lines, whole
from workers.providers.wire.text import SurrogateJoiner, arguments_text, decode
from workers.providers.wire.tool_calls import ToolCalls

FINISH_REASONS = {"STOP": "stop", "FINISH_REASON_UNSPECIFIED": "stop", "MAX_TOKENS": "length"}
"""Finish reasons other than blocked answers. `SAFETY`, `RECITATION`, `SPII`, and newer words that mean no failure,
count as blocked.
"""
TIERS = {"standard": "default", "unspecified": "default"}
"""Tiers that have another name in Gemini's API; `flex` and `priority` have the same."""
FAILURES = {"MALFORMED_FUNCTION_CALL", "MALFORMED_RESPONSE", "UNEXPECTED_TOOL_CALL", "TOO_MANY_TOOL_CALLS"}


_decoder = msgspec.json.Decoder(Body)


class Gemini:
    """A provider, see `protocol.py`."""

    def __init__(self, key: str, base_url: str | None, limits: Limits) -> None:
        self._http = _HandingOver(
            timeout=httpx2.Timeout(None, connect=limits.connect_s, read=limits.read_s, pool=limits.connect_s),
            limits=httpx2.Limits(max_connections=limits.connections, max_keepalive_connections=limits.connections),
        )
        options = types.HttpOptions(
            base_url=base_url,
            api_version="v1beta",  # the SDK's default v1 refused system instructions (late 2025)
            retry_options=types.HttpRetryOptions(attempts=1),
            httpx_async_client=self._http,
        )
        self._models = genai.Client(api_key=key, vertexai=False, http_options=options).aio.models

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def stream(self, request: ProviderRequest) -> AsyncGenerator[Piece, None]:
        """Make one call; its terminal marker is a candidate's finish reason, or the reason for which the prompt is
        blocked.
        """
        answer = _Answer(request.model.service_tier, hands_thoughts_on=request.sampling.hands_thoughts_on)
        async with self._opened(request) as response:
            async for body in _bodies(response, stream=request.stream):
                for piece in answer.take(body):
                    yield piece
        for piece in answer.end():
            yield piece

    @asynccontextmanager
    async def _opened(self, request: ProviderRequest) -> AsyncIterator[httpx2.Response]:
        try:
            response = await self._call(request)
            try:
                yield response
            finally:
                await response.aclose()
        except APIError as error:
            raise gemini_errors.from_api_error(error) from error
        except (httpx2.ConnectTimeout, httpx2.PoolTimeout) as error:
            raise vendor_errors.unreachable() from error
        except httpx2.TimeoutException as error:
            raise vendor_errors.timed_out() from error
        except httpx2.HTTPError as error:
            raise vendor_errors.disconnected() from error
        except (UnknownApiResponseError, ValueError, RecursionError) as error:
            raise vendor_errors.no_answer() from error

    async def _call(self, request: ProviderRequest) -> httpx2.Response:
        """Send the request, and drop it when the answer begins."""
        asked = parameters(request)
        try:
            with put_in(await translated(request, large_fields)):
                if request.stream:
                    async for _ in await self._models.generate_content_stream(**asked):
                        pass
                else:
                    await self._models.generate_content(**asked)
        except _Begun as begun:
            return begun.response
        raise vendor_errors.no_answer()


def create(environment: Mapping[str, str], limits: Limits) -> Gemini | None:
    """The provider; None without `GEMINI_API_KEY`. `GOOGLE_GEMINI_BASE_URL` is the SDK's own variable."""
    key = environment.get("GEMINI_API_KEY")
    return Gemini(key, environment.get("GOOGLE_GEMINI_BASE_URL") or None, limits) if key else None


class _Begun(Exception):
    """Raised when an answer begins: control leaves the SDK with the response, which is still to be read and closed."""

    def __init__(self, response: httpx2.Response) -> None:
        super().__init__()
        self.response = response


class _HandingOver(httpx2.AsyncClient):
    """Lets the SDK send requests, and adds fields to their bodies that the SDK was not given. The SDK reads error
    answers; every other response is handed over by raising `_Begun`. The client's own timeouts hold; the SDK would
    replace all of them by one number, or by none.
    """

    async def send(self, request: httpx2.Request, **options: Any) -> httpx2.Response:  # noqa: ANN401
        request.extensions = {**request.extensions, "timeout": self.timeout.as_dict()}
        body = whole_body(request.content)
        request.headers["Content-Length"] = str(len(body))
        request.stream = _WholeBody(body)
        response = await super().send(request, **{**options, "stream": True})
        if response.is_success:
            under_way().accepted = True
            raise _Begun(response)
        under_way().refused()
        return response


class _WholeBody(httpx2.AsyncByteStream):
    """The request's body. It reports when all of it is written, which is when the transport asks for more."""

    def __init__(self, body: bytes) -> None:
        self._body = body

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for start in range(0, len(self._body), PIECE_BYTES):
            yield self._body[start : start + PIECE_BYTES]
        under_way().sent()


class _Answer:
    """Turns bodies into pieces, and knows at the end whether there was an answer. `tier` is the tier that was asked for."""

    def __init__(self, tier: ServiceTier, *, hands_thoughts_on: bool) -> None:
        self._asks_for_tier = tier != "default"
        self._text = SurrogateJoiner()
        self._thought = SurrogateJoiner()
        self._hands_thoughts_on = hands_thoughts_on
        self._calls = ToolCalls()
        self._called = 0
        self._usage: Usage | None = None
        self._reason: str | None = None

    def take(self, body: Body) -> Iterator[Piece]:
        if body.prompt_feedback and body.prompt_feedback.block_reason:
            raise forbidden()
        for candidate in (body.candidates or ())[:1]:
            for part in (candidate.content and candidate.content.parts) or ():
                yield from self._said(part)
            self._reason = candidate.finish_reason or self._reason
        if self._asks_for_tier and body.usage_metadata and (tier := body.usage_metadata.service_tier):
            self._asks_for_tier = False  # each chunk names the tier
            yield ServedAt(TIERS.get(tier.lower(), tier.lower()))
        usage = body.usage_metadata and body.usage_metadata.usage()
        if usage and usage != self._usage:
            self._usage = usage
            yield Reported(usage)

    def end(self) -> Iterator[Piece]:
        if not self._reason:
            raise vendor_errors.broke_off()
        if self._reason in FAILURES:
            raise vendor_errors.interrupted()
        reason = FINISH_REASONS.get(self._reason, "content_filter")
        if rest := self._text.finish():
            yield rest
        yield from self._calls.end(reason)
        if not self._usage:
            yield Reported(None)
        yield Finished(self._calls.reason(reason))

    def _said(self, part: Part) -> Iterator[Piece]:
        if part.thought:
            shown = self._thought.feed(part.text or "") if self._hands_thoughts_on else ""
            yield ThoughtPiece(0, shown) if shown else Thinking()
        elif call := part.function_call:
            self._called += 1
            written = arguments_text(call.args)
            for piece in self._calls.feed(self._called, written, call_id=call.id, name=call.name):
                yield self._signed(piece, part.thought_signature)
        elif text := self._text.feed(part.text or ""):
            yield text

    def _signed(self, piece: CallPiece | Thinking, signature: str | None) -> Piece:
        """A piece with its signature. Of parallel calls only the first one has a signature, which covers the thoughts
        before all of them.
        """
        if isinstance(piece, Thinking) or not self._hands_thoughts_on:
            return piece
        return msgspec.structs.replace(piece, signature=signature)


async def _bodies(response: httpx2.Response, *, stream: bool) -> AsyncIterator[Body]:
    if not stream:
        yield _body(await whole(response.aiter_bytes()))
        return
    async for line in data_lines(response.aiter_bytes()):
        yield _body(line)


def _body(data: bytes) -> Body:
    try:
        body = decode(data, _decoder, Body)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise vendor_errors.no_answer() from error
    if body.error is not None:
        raise gemini_errors.from_error(body.error)
    return body
