"""OpenAI Chat Completions, by the `openai` SDK.

Streams are read as bytes and parsed here: the SDK's parsed events cost six times as much. The SDK's own retries are off,
because a retry that nobody sees cannot be charged or bounded. Wire format: platform.openai.com/docs/api-reference/chat
(read 2026-11).
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import msgspec
import openai

from shared.chat import ImagePart, Message, TextPart
from shared.errors import (
    ContextLengthExceeded,
    ModelRetired,
    OperatorCredentials,
    ProviderBusy,
    ProviderError,
    ProviderRejected,
    ProviderTimeout,
    RebootError,
)
from shared.money import Usage
from workers.providers import Finished, Limits, Piece, ProviderRequest, Reported
from workers.providers.sse import data_lines
from workers.providers.text import SurrogateJoiner, decode

FINISH_REASONS = {
    "stop": "stop",
    "length": "length",
    "content_filter": "content_filter",
    "tool_calls": "stop",
    "function_call": "stop",
}
OPERATOR_CODES = {"insufficient_quota", "credit_balance_exhausted", "billing_hard_limit_reached"}
SAFE_WORD = re.compile(r"[A-Za-z0-9_.\[\]-]{1,60}")


class _PromptDetails(msgspec.Struct):
    cached_tokens: int | None = None


class _CompletionDetails(msgspec.Struct):
    reasoning_tokens: int | None = None


class _Usage(msgspec.Struct):
    prompt_tokens: int
    completion_tokens: int
    prompt_tokens_details: _PromptDetails | None = None
    completion_tokens_details: _CompletionDetails | None = None


class _Content(msgspec.Struct):
    content: str | None = None
    refusal: str | None = None


class _Choice(msgspec.Struct):
    delta: _Content | None = None
    message: _Content | None = None
    finish_reason: str | None = None


class _Body(msgspec.Struct):
    """A completion, a chunk of one, or an error in the place of either."""

    choices: list[_Choice] | None = None
    usage: _Usage | None = None
    error: dict[str, Any] | None = None


_decoder = msgspec.json.Decoder(_Body)


class OpenAIChat:
    """`stream` as the protocol of this folder says."""

    def __init__(self, client: openai.AsyncOpenAI) -> None:
        self._client = client

    async def close(self) -> None:
        """Close the client."""
        await self._client.close()

    async def stream(self, request: ProviderRequest) -> AsyncGenerator[Piece, None]:
        """One call; the terminal marker is a `finish_reason`."""
        ending = _Ending()
        text = SurrogateJoiner()
        async with _call(self._client, _parameters(request)) as response:
            async for body in _bodies(response, stream=request.stream):
                for choice in body.choices or ():
                    content = choice.delta or choice.message
                    if content and (piece := text.feed(content.content or content.refusal or "")):
                        yield piece
                ending.note(body)
        if rest := text.finish():
            yield rest
        yield Reported(ending.usage)
        yield ending.finished()


def create(environment: Mapping[str, str], limits: Limits) -> OpenAIChat | None:
    """None without `OPENAI_API_KEY`. `OPENAI_BASE_URL` is the SDK's own variable."""
    key = environment.get("OPENAI_API_KEY")
    return OpenAIChat(build_client(key, environment.get("OPENAI_BASE_URL") or None, limits)) if key else None


def build_client(key: str, base_url: str | None, limits: Limits) -> openai.AsyncOpenAI:
    """One client per process, on aiohttp, with as many connections as the worker has slots."""
    timeout = httpx2.Timeout(None, connect=limits.connect_s, read=limits.read_s, pool=limits.connect_s)
    pool = httpx2.Limits(max_connections=limits.connections, max_keepalive_connections=limits.connections)
    http_client = openai.DefaultAioHttpClient(timeout=timeout, limits=pool)
    return openai.AsyncOpenAI(api_key=key, base_url=base_url, max_retries=0, timeout=timeout, http_client=http_client)


class _Ending:
    """Collects what the last events say."""

    def __init__(self) -> None:
        self.usage: Usage | None = None
        self._reason: str | None = None

    def note(self, body: _Body) -> None:
        if body.usage:
            self.usage = _usage(body.usage)
        for choice in body.choices or ():
            self._reason = choice.finish_reason or self._reason

    def finished(self) -> Finished:
        if self._reason is None:
            raise ProviderError("The vendor's answer broke off before its end.")
        if self._reason not in FINISH_REASONS:
            raise ProviderError("The vendor interrupted its answer.")
        return Finished(FINISH_REASONS[self._reason])


@asynccontextmanager
async def _call(client: openai.AsyncOpenAI, parameters: dict[str, Any]) -> AsyncIterator[Any]:
    try:
        async with client.chat.completions.with_streaming_response.create(**parameters) as response:
            yield response
    except openai.APIStatusError as error:
        raise _from_status(error) from error
    except (openai.APITimeoutError, httpx2.ReadTimeout, httpx2.PoolTimeout) as error:
        raise _timeout(error) from error
    except (openai.APIConnectionError, httpx2.TransportError) as error:
        raise ProviderError("The connection to the vendor failed or broke off.") from error


async def _bodies(response: Any, *, stream: bool) -> AsyncIterator[_Body]:  # noqa: ANN401 - the SDK's response wrapper
    if not stream:
        yield _body(await response.read())
        return
    async for line in data_lines(response.iter_bytes()):
        if line == b"[DONE]":
            return
        yield _body(line)


def _body(data: bytes) -> _Body:
    try:
        body = decode(data, _decoder, _Body)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise ProviderError("The vendor sent something that is not an answer.") from error
    if body.error is not None:
        raise _from_error(body.error)
    if body.choices is None:
        raise ProviderError("The vendor sent something that is not an answer.")
    return body


def _parameters(request: ProviderRequest) -> dict[str, Any]:
    parameters: dict[str, Any] = {
        "model": request.model.upstream,
        "messages": [_message(message) for message in request.messages],
        "stream": request.stream,
        request.model.limit_parameter: request.output_limit,
        "temperature": request.sampling.temperature,
        "top_p": request.sampling.top_p,
        "stop": list(request.sampling.stop) or None,
        "stream_options": {"include_usage": True} if request.stream else None,
    }
    return {name: value for name, value in parameters.items() if value is not None}


def _message(message: Message) -> dict[str, Any]:
    if isinstance(message.content, str):
        return {"role": message.role, "content": message.content}
    return {"role": message.role, "content": [_part(part) for part in message.content]}


def _part(part: TextPart | ImagePart) -> dict[str, Any]:
    return msgspec.to_builtins(part)  # type: ignore[no-any-return] # our parts are OpenAI's


def _usage(reported: _Usage) -> Usage:
    cached = reported.prompt_tokens_details and reported.prompt_tokens_details.cached_tokens
    reasoning = reported.completion_tokens_details and reported.completion_tokens_details.reasoning_tokens
    return Usage(reported.prompt_tokens, reported.completion_tokens, cached or 0, reasoning or 0)


def _timeout(error: Exception) -> RebootError:
    cause = error.__cause__ or error
    if isinstance(cause, (httpx2.ConnectTimeout, httpx2.PoolTimeout)):
        return ProviderError("The vendor could not be reached in time.")
    return ProviderTimeout("The vendor did not answer in time: try again, or ask for a shorter answer.")


def _from_status(error: openai.APIStatusError) -> RebootError:  # noqa: PLR0911 - a table: one status, one error
    body = error.body if isinstance(error.body, dict) else {}
    code, kind = str(body.get("code") or ""), str(body.get("type") or "")
    wait_s = _retry_after_s(error.response.headers)
    match error.status_code:
        case 400 | 413 if code == "context_length_exceeded":
            return ContextLengthExceeded(
                "Messages and output limit do not fit into the model's context window: shorten them."
            )
        case 404:
            return ModelRetired("The vendor says that this model is gone: choose another, see GET /api/models.")
        case 401 | 402 | 403:
            return OperatorCredentials("The vendor refused this service's own account: the operator has been told.")
        case 429 if {code, kind} & OPERATOR_CODES:
            return OperatorCredentials(
                "This service's own account at the vendor is used up: the operator has been told."
            )
        case 429 | 503:
            return ProviderBusy("The vendor is too busy now: try again later.", retry_after_s=wait_s)
        case 408 | 504:
            return ProviderTimeout("The vendor did not answer in time: try again, or ask for a shorter answer.")
        case status if status >= 500:  # noqa: PLR2004 - HTTP's own range
            return ProviderError("The vendor failed.", retry_after_s=wait_s)
        case status:
            return ProviderRejected(
                f"The vendor refused this request (HTTP {status}{_words(kind, code, body.get('param'))}): change it."
            )


def _from_error(error: dict[str, Any]) -> RebootError:
    """An error object inside a 200: a stream that failed on its way has no status of its own."""
    code, kind = str(error.get("code") or ""), str(error.get("type") or "")
    if {code, kind} & OPERATOR_CODES:
        return OperatorCredentials("This service's own account at the vendor is used up: the operator has been told.")
    if "rate_limit" in code + kind or "overloaded" in code + kind:
        return ProviderBusy("The vendor is too busy now: try again later.")
    return ProviderError(f"The vendor failed on its way{_words(kind, code)}.")


def _words(*words: object) -> str:
    """The vendor's own identifiers, never its prose: prose may quote a prompt or a key."""
    return "".join(f", {word}" for word in words if isinstance(word, str) and SAFE_WORD.fullmatch(word))


def _retry_after_s(headers: Mapping[str, str]) -> float | None:
    for name, unit_s in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        try:
            return max(float(headers[name]) * unit_s, 0.0)
        except (KeyError, ValueError):
            continue
    return None
