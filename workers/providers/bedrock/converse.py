"""Amazon Bedrock's Converse and ConverseStream: one form for every chat model.

`metadata` with the usage comes after `messageStop`. Cached and written tokens are beside `inputTokens`, not part of it. If
the connection closes early, the SDK's iteration simply ends, so only `messageStop` counts as an end.

Wire format: docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ConverseStream.html (read 2026-11).
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from typing import Any

from shared.catalogue.thinking import takes_thoughts_back
from shared.chat import INSTRUCTIONS, Message, TextPart
from shared.errors import InvalidRequest
from shared.money import Usage
from shared.thoughts import Thought
from workers.providers.bedrock.thinking import thinking_fields
from workers.providers.bedrock.thoughts import Thoughts
from workers.providers.bedrock.tools import cache_point, messages, tool_config
from workers.providers.protocol import Finished, Piece, ProviderRequest, Reported
from workers.providers.wire import vendor_errors
from workers.providers.wire.conversation import CachePoint, Conversation, conversation
from workers.providers.wire.large_fields import put_in, translated
from workers.providers.wire.text import SurrogateJoiner, arguments_text
from workers.providers.wire.tool_calls import ToolCalls

STOP_REASONS = {
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "guardrail_intervened": "content_filter",
    "content_filtered": "content_filter",
    "refusal": "content_filter",
}
"""Stop reasons other than `stop`. `end_turn`, `stop_sequence`, `tool_use`, and newer words that mean no failure, count
as `stop`; see `ToolCalls`.
"""
MAY_BE_LARGE = {"messages", "system", "toolConfig"}
FAILURES = {"malformed_model_output", "malformed_tool_use"}


async def converse(client: Any, request: ProviderRequest) -> AsyncGenerator[Piece, None]:  # noqa: ANN401
    """Make the blocking call; its terminal marker is `stopReason`."""
    response = await _called(client.converse, request)
    reason = _reason(response.get("stopReason"))
    message = (response.get("output") or {}).get("message") or {}
    answer = _Answer(request)
    for index, block in enumerate(message.get("content") or ()):
        for piece in answer.block(index, block):
            yield piece
    for piece in answer.rest(reason):
        yield piece
    yield Reported(_usage(response))
    yield Finished(answer.calls.reason(reason))


async def converse_stream(client: Any, request: ProviderRequest) -> AsyncGenerator[Piece, None]:  # noqa: ANN401
    """Make the streamed call, and read the stream to its end so that the connection can serve again."""
    answer = _Answer(request)
    word = usage = None
    events = (await _called(client.converse_stream, request))["stream"]
    try:
        async for event in events:
            if "messageStop" in event:
                word = event["messageStop"].get("stopReason")
            elif "metadata" in event and (usage := _usage(event["metadata"])):
                yield Reported(usage)
            for piece in answer.event(event):
                yield piece
    finally:
        events.close()  # the SDK leaves the connection open if it is cancelled or the reader stops early
    reason = _reason(word)
    for piece in answer.rest(reason):
        yield piece
    if not usage:
        yield Reported(None)
    yield Finished(answer.calls.reason(reason))


class _Answer:
    """Turns whole blocks, or the events of a stream, into pieces. Tokens of thoughts (`reasoningContent`) are part of the
    output's.
    """

    def __init__(self, request: ProviderRequest) -> None:
        self._text = SurrogateJoiner()
        self._thoughts = Thoughts(handed_on=request.sampling.hands_thoughts_on)
        self.calls = ToolCalls()

    def block(self, index: int, block: dict[str, Any]) -> Iterator[Piece]:
        if use := block.get("toolUse"):
            written = arguments_text(use.get("input"))
            yield from self.calls.feed(index, written, call_id=use.get("toolUseId"), name=use.get("name"))
        elif text := self._text.feed(block.get("text") or ""):
            yield text
        elif thought := block.get("reasoningContent"):
            yield from self._thoughts.block(index, thought)

    def event(self, event: dict[str, Any]) -> Iterator[Piece]:
        """The pieces of one event. Tool blocks begin with an event that names them, other blocks with their first delta."""
        said = event.get("contentBlockStart") or event.get("contentBlockDelta") or {}
        content = said.get("start") or said.get("delta") or {}
        if use := content.get("toolUse"):
            index = said.get("contentBlockIndex") or 0
            written = use.get("input") or ""
            yield from self.calls.feed(index, written, call_id=use.get("toolUseId"), name=use.get("name"))
        elif text := self._text.feed(content.get("text") or ""):
            yield text
        elif thought := content.get("reasoningContent"):
            yield from self._thoughts.delta(said.get("contentBlockIndex") or 0, thought)
        elif stopped := event.get("contentBlockStop"):
            yield from self._thoughts.stop(stopped.get("contentBlockIndex") or 0)

    def rest(self, reason: str) -> Iterator[Piece]:
        yield from self._thoughts.rest()
        if text := self._text.finish():
            yield text
        yield from self.calls.end(reason)


def _reason(word: str | None) -> str:
    """The finish reason. Raises an error if there is none, or if it means a failure."""
    if not word:
        raise vendor_errors.broke_off()
    if word in FAILURES:
        raise vendor_errors.interrupted()
    return STOP_REASONS.get(word, "stop")


def _usage(answer: dict[str, Any]) -> Usage | None:
    usage = answer.get("usage") or {}
    if "inputTokens" not in usage or "outputTokens" not in usage:
        return None
    cached = usage.get("cacheReadInputTokens") or 0
    written = usage.get("cacheWriteInputTokens") or 0
    details = usage.get("cacheDetails") or ()
    kept_long = sum(one.get("inputTokens") or 0 for one in details if not _is_short(str(one.get("ttl"))))
    return Usage(
        usage["inputTokens"] + cached + written,
        usage["outputTokens"],
        cached=cached,
        written=written,
        written_long=kept_long,
    )


def _is_short(ttl: str) -> bool:
    """True if the time is in minutes. Tokens that are kept for hours have a price of their own."""
    return ttl.endswith("m")


def parameters(request: ProviderRequest) -> dict[str, Any]:
    """The parameters of both calls; options that are not asked for are left out."""
    talk = conversation(request.messages, marked=True)
    _check_turns(talk, request)
    _leave_out_thoughts(talk, request)
    _trim_end(talk)
    sampling = request.sampling
    inference = {
        request.model.limit_parameter: request.output_limit,
        "temperature": sampling.temperature,
        "topP": sampling.top_p,
        "stopSequences": list(sampling.stop) or None,
    }
    tools = tool_config(request)
    given = {
        "modelId": request.model.vendor_model,
        "messages": messages(talk, with_tools=tools is not None or not talk.has_calls()),
        "inferenceConfig": {name: value for name, value in inference.items() if value is not None},
        "system": _system(request.messages) or None,
        "toolConfig": tools,
        "additionalModelRequestFields": _additional(request) or None,
    }
    return {name: value for name, value in given.items() if value is not None}


async def _called(call: Callable[..., Awaitable[Any]], request: ProviderRequest) -> Any:  # noqa: ANN401
    """Make the call, and drop the request once the answer begins."""
    small, large = _apart(await translated(request, parameters))
    with put_in(large):
        return await call(**small)


def _apart(given: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Split the fields into those that the SDK is given and those that are put into the body without the SDK, under the
    same names.
    """
    large = {name: value for name, value in given.items() if name in MAY_BE_LARGE}
    return {name: value for name, value in given.items() if name not in large}, large


def _system(messages: list[Message]) -> list[dict[str, Any]]:
    """The instructions as blocks: a cache point follows each part that is marked."""
    blocks: list[dict[str, Any]] = []
    text = ""
    for message in messages:
        if message.role not in INSTRUCTIONS or not message.text().strip():
            continue
        marks = {mark.place: mark.long for mark in message.cache_marks}
        text = f"{text}\n\n" if text else ""
        for place, part in enumerate([message.content] if isinstance(message.content, str) else message.content):
            text += part if isinstance(part, str) else part.text if isinstance(part, TextPart) else ""
            if place in marks and text.strip():
                blocks += [{"text": text}, cache_point(long=marks[place])]
                text = ""
    return [*blocks, {"text": text}] if text.strip() else blocks


def _additional(request: ProviderRequest) -> dict[str, Any]:
    """The model's own fields: Claude's `top_k`, and for many models the fields that switch thinking on and set its
    effort.
    """
    fields: dict[str, Any] = {"top_k": request.sampling.top_k} if request.sampling.top_k else {}
    return fields | thinking_fields(request)


def _check_turns(talk: Conversation, request: ProviderRequest) -> None:
    """Refuse two cases that Converse itself refuses with less helpful messages."""
    if talk.turns[0].role != "user":
        raise InvalidRequest(f"`messages` must begin with a message of the user for {request.model.name}.")
    if talk.turns[-1].role == "assistant" and not request.model.prefill:
        raise InvalidRequest(
            f"`messages` must end with a message of the user: {request.model.name} cannot continue the assistant's."
        )


def _leave_out_thoughts(talk: Conversation, request: ProviderRequest) -> None:
    """Remove all thoughts if the model does not think now. If an answer was cut off within a thought, that thought is
    removed: "The final block in an assistant message cannot be `thinking`" (github.com/tailcallhq/forgecode/pull/3073,
    read 2026-11).
    """
    taken = takes_thoughts_back(request.model, request.sampling.reasoning_effort)
    for turn in talk.turns:
        if not taken:
            turn.parts[:] = [part for part in turn.parts if not isinstance(part, Thought)]
        while turn.parts and isinstance(turn.parts[-1], Thought):
            turn.parts.pop()


def _trim_end(talk: Conversation) -> None:
    """Remove white space at the end of an answer that the model continues: "final assistant content cannot end with
    trailing whitespace" (github.com/langchain-ai/langchain-aws/issues/532, read 2026-11).
    """
    last = talk.turns[-1]
    place = -2 if isinstance(last.parts[-1], CachePoint) else -1
    part = last.parts[place]
    if last.role == "assistant" and isinstance(part, TextPart):
        last.parts[place] = TextPart(part.text.rstrip())
