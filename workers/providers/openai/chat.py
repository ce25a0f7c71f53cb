"""OpenAI's chat completions. Wire format: platform.openai.com/docs/api-reference/chat (read 2026-11)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from shared.lanes import ServiceTier
from shared.money import Usage
from shared.thoughts import ThoughtPiece
from workers.providers.openai import errors as openai_errors
from workers.providers.openai.calls import OpenAIApi
from workers.providers.openai.clients import Clients, openai_clients
from workers.providers.openai.request import parameters
from workers.providers.protocol import Finished, Limits, Piece, ProviderRequest, Reported, ServedAt, Thinking
from workers.providers.wire import vendor_errors
from workers.providers.wire.sse import DataLines
from workers.providers.wire.text import SurrogateJoiner, decode, joined
from workers.providers.wire.tool_calls import ToolCalls

FINISH_REASONS = {"length": "length", "max_tokens": "length", "content_filter": "content_filter"}
"""Finish reasons other than `stop`. Other words that mean no failure, such as other vendors' `eos`, count as `stop`.
With calls the reason is `tool_calls`, for `tool_calls` and the older `function_call`.
"""
FAILURES = {"insufficient_system_resource", "error", "abort", "cancelled"}


class _PromptDetails(msgspec.Struct):
    cached_tokens: int | None = None
    cache_write_tokens: int | None = None


class _CompletionDetails(msgspec.Struct):
    reasoning_tokens: int | None = None


class _Usage(msgspec.Struct):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    prompt_tokens_details: _PromptDetails | None = None
    completion_tokens_details: _CompletionDetails | None = None
    prompt_cache_hit_tokens: int | None = None
    prompt_cache_miss_tokens: int | None = None

    def usage(self) -> Usage | None:
        """The usage. Cached and written tokens are part of the prompt's, reasoning of the completion's. DeepSeek's hits and
        misses must add up to the prompt's; None if they do not.
        """
        hit, miss = self.prompt_cache_hit_tokens, self.prompt_cache_miss_tokens
        if self.prompt_tokens is None or self.completion_tokens is None:
            return None
        if hit is not None and miss is not None and hit + miss != self.prompt_tokens:
            return None
        prompt = self.prompt_tokens_details or _PromptDetails()
        reasoning = self.completion_tokens_details and self.completion_tokens_details.reasoning_tokens
        return Usage(
            self.prompt_tokens,
            self.completion_tokens,
            cached=hit or prompt.cached_tokens or 0,
            reasoning=reasoning or 0,
            written=prompt.cache_write_tokens or 0,
        )


class _Function(msgspec.Struct):
    name: str | None = None
    arguments: str | None = None


class _ToolCall(msgspec.Struct):
    """A whole call, which has no index, or a delta of one; the first delta has id and name."""

    index: int | None = None
    id: str | None = None
    function: _Function = msgspec.field(default_factory=_Function)


class _Content(msgspec.Struct):
    content: str | None = None
    refusal: str | None = None
    reasoning_content: str | None = None
    tool_calls: list[_ToolCall] | None = None


class _Choice(msgspec.Struct):
    delta: _Content | None = None
    message: _Content | None = None
    finish_reason: str | None = None


class _Body(msgspec.Struct):
    """A completion, a chunk of one, or an error instead."""

    choices: list[_Choice] | None = None
    usage: _Usage | None = None
    service_tier: str | None = None
    error: dict[str, Any] | None = None


_decoder = msgspec.json.Decoder(_Body)


def completions(clients: Clients, limits: Limits) -> OpenAIApi:
    """A vendor's chat completions. The terminal marker is a `finish_reason`; usage may follow in a chunk of its own."""

    def answer(request: ProviderRequest) -> _Answer:
        return _Answer(request.model.service_tier, hands_thoughts_on=request.sampling.hands_thoughts_on)

    return OpenAIApi(clients, limits, path="/chat/completions", parameters=parameters, answer=answer)


def create(environment: Mapping[str, str], limits: Limits) -> OpenAIApi:
    """The provider, with the key in `OPENAI_API_KEY`."""
    return completions(openai_clients(environment, limits), limits)


class _Answer:
    """Turns bodies into pieces, and knows at the end whether there was an answer. `tier` is the tier that was asked for:
    "This response value may be different from the value set in the parameter" (openai-python 3.54).
    """

    def __init__(self, tier: ServiceTier, *, hands_thoughts_on: bool) -> None:
        self._asks_for_tier = tier != "default"
        self._text = SurrogateJoiner()
        self._thought = SurrogateJoiner()
        self._hands_thoughts_on = hands_thoughts_on
        self._calls = ToolCalls()
        self._lines = DataLines()
        self._reported = False
        self._reason: str | None = None
        self.done = False
        """True once the stream has ended itself."""

    def whole(self, body: bytes) -> Iterator[Piece]:
        """The pieces of a completion in one body."""
        return self.take(_body(body))

    def feed(self, chunk: bytes) -> Iterator[Piece]:
        """The pieces of a stream's bytes; texts that arrived together are one piece."""
        return joined(self._take_lines(self._lines.feed(chunk)))

    def rest(self) -> Iterator[Piece]:
        """The pieces of the last line, if its end is missing."""
        return self._take_lines(self._lines.finish())

    def _take_lines(self, lines: list[bytes]) -> Iterator[Piece]:
        for line in lines:
            self.done = self.done or line == b"[DONE]"
            if self.done:
                return
            yield from self.take(_body(line))

    def take(self, body: _Body) -> Iterator[Piece]:
        if self._asks_for_tier and body.service_tier:
            self._asks_for_tier = False  # each chunk names the tier
            yield ServedAt(body.service_tier)
        for choice in body.choices or ():
            content = choice.delta or choice.message
            if content is not None:
                if content.reasoning_content:
                    yield self._thinking(content.reasoning_content)
                if text := self._text.feed(content.content or content.refusal or ""):
                    yield text
                if content.tool_calls:
                    yield from self._called(content.tool_calls)
            self._reason = choice.finish_reason or self._reason
        if body.usage and (usage := body.usage.usage()):
            self._reported = True
            yield Reported(usage)

    def end(self) -> Iterator[Piece]:
        if self._reason is None:
            raise vendor_errors.broke_off()
        if self._reason in FAILURES:
            raise vendor_errors.interrupted()
        reason = FINISH_REASONS.get(self._reason, "stop")
        if rest := self._text.finish():
            yield rest
        yield from self._calls.end(reason)
        if not self._reported:
            yield Reported(None)
        yield Finished(self._calls.reason(reason))

    def _thinking(self, text: str) -> Piece:
        """A thought. Other vendors of this protocol than OpenAI show thoughts without signing them."""
        shown = self._thought.feed(text) if self._hands_thoughts_on else ""
        return ThoughtPiece(0, shown) if shown else Thinking()

    def _called(self, calls: list[_ToolCall]) -> Iterator[Piece]:
        for place, call in enumerate(calls):
            index = place if call.index is None else call.index
            said = call.function
            yield from self._calls.feed(index, said.arguments or "", call_id=call.id, name=said.name)


def _body(data: bytes) -> _Body:
    try:
        body = decode(data, _decoder, _Body)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise vendor_errors.no_answer() from error
    if body.error is not None:
        raise openai_errors.from_error(body.error)
    if body.choices is None and body.usage is None:
        raise vendor_errors.no_answer()
    return body
