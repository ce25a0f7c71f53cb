"""Amazon Bedrock's Converse and ConverseStream: one form for every chat model.

`metadata` with the usage comes after `messageStop`; cached tokens stand beside `inputTokens`, not inside. A tidy early
close ends the SDK's iteration without a word, so that only `messageStop` is an end. Wire format:
docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ConverseStream.html (read 2026-11).
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

from shared.chat import Part, TextPart
from shared.errors import InvalidRequest
from shared.money import Usage
from workers.providers import Finished, Piece, ProviderRequest, Reported, Thinking, vendor_errors
from workers.providers.conversation import Conversation, conversation, image
from workers.providers.text import SurrogateJoiner

STOP_REASONS = {
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "guardrail_intervened": "content_filter",
    "content_filtered": "content_filter",
}
"""What is not here and no failure is a `stop`: `end_turn`, `stop_sequence`, `tool_use`, and newer words."""
FAILURES = {"malformed_model_output", "malformed_tool_use"}


async def converse(client: Any, request: ProviderRequest) -> AsyncGenerator[Piece, None]:  # noqa: ANN401
    """The blocking call; the terminal marker is `stopReason`."""
    answer = await client.converse(**_parameters(request))
    finished = _finished(answer.get("stopReason"))
    message = (answer.get("output") or {}).get("message") or {}
    joiner = SurrogateJoiner()
    text = joiner.feed("".join(block.get("text") or "" for block in message.get("content") or ())) + joiner.finish()
    if text:
        yield text
    yield Reported(_usage(answer))
    yield finished


async def converse_stream(client: Any, request: ProviderRequest) -> AsyncGenerator[Piece, None]:  # noqa: ANN401
    """The streamed call, read to its end so that the connection can serve again."""
    text = SurrogateJoiner()
    reason = usage = None
    events = (await client.converse_stream(**_parameters(request)))["stream"]
    try:
        async for event in events:
            if "contentBlockDelta" in event:
                if piece := _piece(event["contentBlockDelta"].get("delta") or {}, text):
                    yield piece
            elif "messageStop" in event:
                reason = event["messageStop"].get("stopReason")
            elif "metadata" in event and (usage := _usage(event["metadata"])):
                yield Reported(usage)
    finally:
        events.close()  # the SDK leaves the connection open when it is cancelled, or when a reader stops early
    finished = _finished(reason)
    if rest := text.finish():
        yield rest
    if not usage:
        yield Reported(None)
    yield finished


def _piece(delta: dict[str, Any], text: SurrogateJoiner) -> Piece | None:
    if delta.get("text"):
        return text.feed(delta["text"]) or None
    return Thinking() if delta.get("reasoningContent") else None


def _finished(reason: str | None) -> Finished:
    if not reason:
        raise vendor_errors.broke_off()
    if reason in FAILURES:
        raise vendor_errors.interrupted()
    return Finished(STOP_REASONS.get(reason, "stop"))


def _usage(answer: dict[str, Any]) -> Usage | None:
    usage = answer.get("usage") or {}
    if "inputTokens" not in usage or "outputTokens" not in usage:
        return None
    cached = usage.get("cacheReadInputTokens") or 0
    written = usage.get("cacheWriteInputTokens") or 0
    return Usage(usage["inputTokens"] + cached + written, usage["outputTokens"], cached)


def _parameters(request: ProviderRequest) -> dict[str, Any]:
    talk = conversation(request.messages)
    _check_turns(talk, request)
    sampling = request.sampling
    inference = {
        request.model.limit_parameter: request.output_limit,
        "temperature": sampling.temperature,
        "topP": sampling.top_p,
        "stopSequences": list(sampling.stop) or None,
    }
    parameters = {
        "modelId": request.model.upstream,
        "messages": [{"role": turn.role, "content": [_block(part) for part in turn.parts]} for turn in talk.turns],
        "inferenceConfig": {name: value for name, value in inference.items() if value is not None},
    }
    return parameters | ({"system": [{"text": talk.instructions}]} if talk.instructions else {})


def _check_turns(talk: Conversation, request: ProviderRequest) -> None:
    """Converse refuses these two in words that say less."""
    if talk.turns[0].role != "user":
        raise InvalidRequest(f"`messages` must begin with a message of the user for {request.model.name}.")
    if talk.turns[-1].role == "assistant" and not request.model.prefill:
        raise InvalidRequest(
            f"`messages` must end with a message of the user: {request.model.name} cannot continue the assistant's."
        )


def _block(part: Part) -> dict[str, Any]:
    if isinstance(part, TextPart):
        return {"text": part.text}
    kind, data = image(part)
    return {"image": {"format": kind, "source": {"bytes": data}}}
