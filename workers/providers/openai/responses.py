"""OpenAI's Responses API, for requests that its chat completions do not serve: tools beside reasoning.

Wire format: platform.openai.com/docs/api-reference/responses and …/responses-streaming (read 2026-11).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

import msgspec

from shared.money import Usage
from workers.providers.openai import errors as openai_errors
from workers.providers.openai.calls import OpenAIApi
from workers.providers.openai.clients import openai_clients
from workers.providers.openai.responses_request import parameters
from workers.providers.openai.responses_thoughts import PARAGRAPH, Thoughts
from workers.providers.protocol import Finished, Limits, Piece, ProviderRequest, Reported, ServedAt
from workers.providers.wire import vendor_errors
from workers.providers.wire.sse import DataLines
from workers.providers.wire.text import SurrogateJoiner, decode, joined
from workers.providers.wire.tool_calls import ToolCalls

INCOMPLETE = {"max_output_tokens": "length", "content_filter": "content_filter"}
"""Our finish reason for each of the vendor's reasons for an incomplete answer; every other reason is a failure."""


class _InputDetails(msgspec.Struct):
    cached_tokens: int | None = None
    cache_write_tokens: int | None = None
    cache_write_tokens_details: _Written | None = None


class _Written(msgspec.Struct):
    ttl_12h_tokens: int | None = None


class _OutputDetails(msgspec.Struct):
    reasoning_tokens: int | None = None


class _Usage(msgspec.Struct):
    input_tokens: int | None = None
    output_tokens: int | None = None
    input_tokens_details: _InputDetails | None = None
    output_tokens_details: _OutputDetails | None = None

    def usage(self) -> Usage | None:
        """The usage. Cached and written tokens are part of the input's, reasoning of the output's."""
        if self.input_tokens is None or self.output_tokens is None:
            return None
        given, made = self.input_tokens_details or _InputDetails(), self.output_tokens_details or _OutputDetails()
        written = given.cache_write_tokens_details or _Written()
        return Usage(
            self.input_tokens,
            self.output_tokens,
            cached=given.cached_tokens or 0,
            reasoning=made.reasoning_tokens or 0,
            written=given.cache_write_tokens or 0,
            written_long=written.ttl_12h_tokens or 0,
        )


class _Content(msgspec.Struct):
    """A part of a message (`output_text` with `text`, or `refusal`) or of a summary."""

    text: str | None = None
    refusal: str | None = None


class _Item(msgspec.Struct):
    """An item of an answer: a `message`, a `function_call` or a thought (`reasoning`)."""

    type: str
    id: str | None = None
    content: list[_Content] | None = None
    summary: list[_Content] | None = None
    encrypted_content: str | None = None
    call_id: str | None = None
    name: str | None = None
    arguments: str | None = None


class _Incomplete(msgspec.Struct):
    reason: str | None = None


class _Response(msgspec.Struct):
    """An answer, whole or in progress."""

    status: str | None = None
    output: list[_Item] | None = None
    usage: _Usage | None = None
    incomplete_details: _Incomplete | None = None
    error: dict[str, Any] | None = None
    service_tier: str | None = None


class _Event(msgspec.Struct):
    """An event of a stream. An `error` has its fields beside `type`, or in an object of their own."""

    type: str
    output_index: int = 0
    summary_index: int = 0
    delta: str | None = None
    item: _Item | None = None
    response: _Response | None = None
    error: dict[str, Any] | None = None
    code: str | None = None
    message: str | None = None


Body = TypeVar("Body", _Event, _Response)
_events = msgspec.json.Decoder(_Event)
_responses = msgspec.json.Decoder(_Response)


def create(environment: Mapping[str, str], limits: Limits) -> OpenAIApi:
    """The provider, with the key in `OPENAI_API_KEY`."""
    clients = openai_clients(environment, limits)
    return OpenAIApi(clients, limits, path="/responses", parameters=parameters, answer=_Answer)


class _Answer:
    """Turns bodies and events into pieces, and knows at the end whether there was an answer. The terminal marker is the
    status.
    """

    def __init__(self, request: ProviderRequest) -> None:
        self._asks_for_tier = request.model.service_tier != "default"
        self._thoughts = Thoughts(handed_on=request.sampling.hands_thoughts_on)
        self._text = SurrogateJoiner()
        self._calls = ToolCalls()
        self._lines = DataLines()
        self._messages: set[int] = set()
        """Places of messages that have text."""
        self._reported = False
        self._reason: str | None = None
        self.done = False

    def whole(self, body: bytes) -> Iterator[Piece]:
        """The pieces of an answer in one body."""
        response = _decoded(body, _responses, _Response)
        for place, item in enumerate(response.output or ()):
            yield from self._item(place, item)
        yield from self._ended(response)

    def feed(self, chunk: bytes) -> Iterator[Piece]:
        """The pieces of a stream's bytes; texts that arrived together are one piece."""
        return joined(self._take_lines(self._lines.feed(chunk)))

    def rest(self) -> Iterator[Piece]:
        """The pieces of the last line, if its end is missing."""
        return self._take_lines(self._lines.finish())

    def end(self) -> Iterator[Piece]:
        """The last pieces. Raises `ProviderError` without a final status."""
        if self._reason is None:
            raise vendor_errors.broke_off()
        if rest := self._text.finish():
            yield rest
        yield from self._calls.end(self._reason)
        if not self._reported:
            yield Reported(None)
        yield Finished(self._calls.reason(self._reason))

    def _take_lines(self, lines: list[bytes]) -> Iterator[Piece]:
        for line in lines:
            if self.done or line == b"[DONE]":
                return
            yield from self._take(_decoded(line, _events, _Event))

    def _take(self, event: _Event) -> Iterator[Piece]:
        match event.type:
            case "response.output_text.delta" | "response.refusal.delta":
                yield from self._said(event.output_index, event.delta or "")
            case "response.function_call_arguments.delta":
                yield from self._calls.feed(event.output_index, event.delta or "")
            case "response.output_item.added" if event.item and event.item.type == "function_call":
                yield from self._called(event.output_index, event.item, "")
            case "response.reasoning_summary_text.delta":
                yield self._thoughts.said(event.output_index, event.summary_index, event.delta or "")
            case "response.output_item.done" if event.item and event.item.type == "reasoning":
                yield self._thoughts.ended(event.output_index, event.item.id, event.item.encrypted_content)
            case "response.completed" | "response.incomplete" | "response.failed" | "response.cancelled":
                self.done = True
                yield from self._ended(event.response or _Response())
            case "error":
                raise openai_errors.from_error(event.error or {"code": event.code, "message": event.message})

    def _item(self, place: int, item: _Item) -> Iterator[Piece]:
        """The pieces of a whole item."""
        match item.type:
            case "function_call":
                yield from self._called(place, item, item.arguments or "")
            case "message":
                for content in item.content or ():
                    yield from self._said(place, content.text or content.refusal or "")
            case "reasoning":
                for part, content in enumerate(item.summary or ()):
                    yield self._thoughts.said(place, part, content.text or "")
                yield self._thoughts.ended(place, item.id, item.encrypted_content)

    def _called(self, place: int, item: _Item, arguments: str) -> Iterator[Piece]:
        return self._calls.feed(place, arguments, call_id=item.call_id, name=item.name)

    def _said(self, place: int, delta: str) -> Iterator[Piece]:
        """The text of the message at `place`. A model may write a short message before its answer."""
        if not (text := self._text.feed(delta)):
            return
        begins = bool(self._messages) and place not in self._messages
        self._messages.add(place)
        yield PARAGRAPH + text if begins else text

    def _ended(self, response: _Response) -> Iterator[Piece]:
        """The last pieces of a response. Raises the error that the vendor reports."""
        if self._asks_for_tier and response.service_tier:
            yield ServedAt(response.service_tier)
        if response.usage and (usage := response.usage.usage()):
            self._reported = True
            yield Reported(usage)
        if response.error is not None:
            raise openai_errors.from_error(response.error)
        match response.status:
            case "completed":
                self._reason = "stop"
            case "incomplete" if reason := INCOMPLETE.get(_reason_of(response)):
                self._reason = reason
            case "failed" | "cancelled" | "incomplete":
                raise vendor_errors.interrupted()


def _reason_of(response: _Response) -> str:
    return (response.incomplete_details and response.incomplete_details.reason) or ""


def _decoded(data: bytes, decoder: msgspec.json.Decoder[Body], kind: type[Body]) -> Body:
    try:
        return decode(data, decoder, kind)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise vendor_errors.no_answer() from error
