"""Amazon Bedrock's InvokeModel, for models with bodies of their own: AI21 Jurassic-2 and Cohere Command.

These models take one prompt. A single message is sent unchanged as the prompt. A conversation is written out, one paragraph
per turn. Each paragraph begins with the name of the speaker, and the assistant's turn at the end is left open:

    User: Hello

    Assistant: Hello, what can I do for you?

    User: Count to three

    Assistant:

Bodies: docs.aws.amazon.com/bedrock/latest/userguide/model-parameters.html (Jurassic-2, Command; read 2026-11).
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from typing import Any

import msgspec

from shared.errors import InvalidRequest
from shared.money import Usage
from workers.providers.protocol import Finished, Piece, ProviderRequest, Reported
from workers.providers.wire import vendor_errors
from workers.providers.wire.conversation import Conversation, conversation, refuse_tools
from workers.providers.wire.sse import whole
from workers.providers.wire.text import SurrogateJoiner, decode

SPEAKERS = {"user": "User", "assistant": "Assistant"}
FINISH_REASONS = {
    "length": "length",
    "MAX_TOKENS": "length",
    "ERROR_LIMIT": "length",
    "ERROR_TOXIC": "content_filter",
}
"""Finish reasons other than `stop`. Jurassic's `endoftext` and `stop` and Command's `COMPLETE` count as `stop`."""
FAILURES = {"ERROR", "USER_CANCEL"}
INPUT_COUNT, OUTPUT_COUNT = "x-amzn-bedrock-input-token-count", "x-amzn-bedrock-output-token-count"


class _Metrics(msgspec.Struct, rename="camel"):
    """The token counts that Bedrock adds to the last chunk of a stream."""

    input_token_count: int
    output_token_count: int


class _CommandAnswer(msgspec.Struct):
    """A chunk of Command's stream, or one of its generations."""

    text: str | None = None
    finish_reason: str | None = None
    metrics: _Metrics | None = msgspec.field(default=None, name="amazon-bedrock-invocationMetrics")


class _CommandBody(msgspec.Struct):
    generations: list[_CommandAnswer]


class _Counted(msgspec.Struct):
    """Jurassic-2's data of the prompt and of the completion; only their tokens are counted."""

    tokens: list[Any] = []
    text: str = ""


class _FinishReason(msgspec.Struct):
    reason: str


class _Completion(msgspec.Struct, rename="camel"):
    data: _Counted
    finish_reason: _FinishReason


class _JurassicBody(msgspec.Struct):
    prompt: _Counted
    completions: list[_Completion]


_chunk_decoder = msgspec.json.Decoder(_CommandAnswer)
_command_decoder = msgspec.json.Decoder(_CommandBody)
_jurassic_decoder = msgspec.json.Decoder(_JurassicBody)


async def invoke(client: Any, request: ProviderRequest) -> AsyncGenerator[Piece, None]:  # noqa: ANN401
    """Make the blocking call; the terminal marker is a whole body with a finish reason."""
    response = await client.invoke_model(**_parameters(request))
    try:
        data = await whole(response["body"].iter_chunks())
    finally:
        response["body"].close()
    text, reason, usage = _jurassic(data) if _is_jurassic(request) else _command(data)
    finished = _finished(reason)
    joiner = SurrogateJoiner()
    if said := joiner.feed(text) + joiner.finish():
        yield said
    yield Reported(_from_headers(response["ResponseMetadata"]["HTTPHeaders"]) or usage)
    yield finished


async def invoke_stream(client: Any, request: ProviderRequest) -> AsyncGenerator[Piece, None]:  # noqa: ANN401
    """Make the streamed call; the terminal marker is a chunk with a finish reason."""
    text = SurrogateJoiner()
    reason = metrics = None
    events = (await client.invoke_model_with_response_stream(**_parameters(request)))["body"]
    try:
        async for event in events:
            chunk = decode((event.get("chunk") or {}).get("bytes") or b"{}", _chunk_decoder, _CommandAnswer)
            if piece := text.feed(chunk.text or ""):
                yield piece
            if chunk.metrics:
                metrics = chunk.metrics
                yield Reported(Usage(metrics.input_token_count, metrics.output_token_count))
            reason = chunk.finish_reason or reason
    finally:
        events.close()  # the SDK leaves the connection open if it is cancelled or the reader stops early
    finished = _finished(reason)
    if rest := text.finish():
        yield rest
    if not metrics:
        yield Reported(None)
    yield finished


def _jurassic(data: bytes) -> tuple[str, str | None, Usage | None]:
    body = decode(data, _jurassic_decoder, _JurassicBody)
    if not body.completions:
        return "", None, None
    completion = body.completions[0]
    counts = (len(body.prompt.tokens), len(completion.data.tokens))
    return completion.data.text, completion.finish_reason.reason, Usage(*counts) if any(counts) else None


def _command(data: bytes) -> tuple[str, str | None, Usage | None]:
    body = decode(data, _command_decoder, _CommandBody)
    answer = body.generations[0] if body.generations else _CommandAnswer()
    return answer.text or "", answer.finish_reason, None


def _from_headers(headers: Mapping[str, str]) -> Usage | None:
    try:
        return Usage(int(headers[INPUT_COUNT]), int(headers[OUTPUT_COUNT]))
    except (KeyError, ValueError):
        return None


def _finished(reason: str | None) -> Finished:
    if not reason:
        raise vendor_errors.broke_off()
    if reason in FAILURES:
        raise vendor_errors.interrupted()
    return Finished(FINISH_REASONS.get(reason, "stop"))


def _parameters(request: ProviderRequest) -> dict[str, Any]:
    body = _jurassic_body(request) if _is_jurassic(request) else _command_body(request)
    given = {name: value for name, value in body.items() if value is not None}
    return {
        "modelId": request.model.vendor_model,
        "body": msgspec.json.encode(given),
        "contentType": "application/json",
        "accept": "*/*" if request.stream else "application/json",
    }


def _jurassic_body(request: ProviderRequest) -> dict[str, Any]:
    return {
        "prompt": _prompt(request),
        request.model.limit_parameter: request.output_limit,
        "temperature": request.sampling.temperature,
        "topP": request.sampling.top_p,
        "stopSequences": list(request.sampling.stop) or None,
    }


def _command_body(request: ProviderRequest) -> dict[str, Any]:
    return {
        "prompt": _prompt(request),
        request.model.limit_parameter: request.output_limit,
        "temperature": request.sampling.temperature,
        "p": request.sampling.top_p,
        "stop_sequences": list(request.sampling.stop) or None,
        "truncate": "NONE",  # the default silently cuts a prompt that is too long
        "stream": request.stream or None,
    }


def _is_jurassic(request: ProviderRequest) -> bool:
    return "ai21.j2" in request.model.vendor_model


def _prompt(request: ProviderRequest) -> str:
    refuse_tools(request)
    talk = conversation(request.messages)
    if any(message.images() for message in request.messages):
        raise InvalidRequest(f"{request.model.name} takes no images.")
    if len(talk.turns) == 1 and talk.turns[0].role == "user" and not talk.instructions:
        return talk.turns[0].text
    return _written_out(talk)


def _written_out(talk: Conversation) -> str:
    paragraphs = [talk.instructions] if talk.instructions else []
    paragraphs += [f"{SPEAKERS[turn.role]}: {turn.text}" for turn in talk.turns]
    if talk.turns[-1].role == "user":
        paragraphs.append(f"{SPEAKERS['assistant']}:")
    return "\n\n".join(paragraphs)
