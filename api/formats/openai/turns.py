"""Converts the messages of OpenAI's chat completions into the project's own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec

from api.formats.cache_marks import Markable, MarkField, fields_with_marks, marked_at_end, marks_of
from api.formats.openai.messages import (
    THOUGHTS,
    AnyMessage,
    AssistantMessage,
    DeveloperMessage,
    MadeCall,
    RefusalPart,
    SaidPart,
    SeenImagePart,
    SystemMessage,
    Text,
    ThinkingPart,
    ToolMessage,
    UserMessage,
)
from api.formats.openai.thoughts import signature_in
from shared.chat import ImagePart, ImageUrl, Message, Part, TextPart, ToolCall
from shared.errors import InvalidRequest


def neutral_messages(messages: Sequence[AnyMessage]) -> list[Message]:
    """The messages in the project's own form. Raises `InvalidRequest` if calls and the messages that answer them do not
    match.
    """
    _check_calls(messages)
    return [_neutral(message) for message in messages]


def thought_fields(messages: Sequence[AnyMessage]) -> tuple[str, ...]:
    """The fields in which thoughts are sent back."""
    answers = [message for message in messages if isinstance(message, AssistantMessage)]
    fields = [field for field in THOUGHTS if any(getattr(answer, field) for answer in answers)]
    signed = any(call.extra_content for answer in answers for call in answer.tool_calls or ())
    return (*(f"messages[].{field}" for field in fields), *(["messages[].tool_calls[].extra_content"] * signed))


def left_out_of(messages: Sequence[AnyMessage]) -> list[str]:
    """The names of fields of earlier answers that no model is told, each once."""
    answers = [message for message in messages if isinstance(message, AssistantMessage)]
    thoughts = any(_has_thoughts(answer) for answer in answers)
    sources = any(answer.annotations for answer in answers)
    odd = [field for field in THOUGHTS if any(not _is_read(field, answer) for answer in answers)]
    extras = (call.extra_content for answer in answers for call in answer.tool_calls or ())
    unsigned = any(extra and signature_in(extra) is None for extra in extras)
    return [
        *["messages[].content[].thinking"] * thoughts,
        *["messages[].annotations"] * sources,
        *(f"messages[].{field}" for field in odd),
        *["messages[].tool_calls[].extra_content"] * unsigned,
    ]


def _is_read(field: str, answer: AssistantMessage) -> bool:
    """True if everything in this field of thoughts is understood."""
    given = getattr(answer, field)
    if field == "reasoning_details":
        return not answer.has_odd_details
    return not given or isinstance(given, str)


def _has_thoughts(answer: AssistantMessage) -> bool:
    return isinstance(answer.content, list) and any(isinstance(part, ThinkingPart) for part in answer.content)


def marks_in(messages: Sequence[AnyMessage]) -> Iterator[MarkField]:
    """The fields with cache marks."""
    yield from fields_with_marks("messages[]", messages)
    for message in messages:
        yield from fields_with_marks("messages[].content[]", _markable(message))


def _neutral(message: AnyMessage) -> Message:
    match message:
        case SystemMessage():
            said = Message("system", _text(message.content))
        case DeveloperMessage():
            said = Message("developer", _text(message.content))
        case UserMessage():
            said = Message("user", _seen(message.content))
        case ToolMessage():
            said = Message("tool", _seen(message.content or ""), tool_call_id=message.tool_call_id)
        case AssistantMessage():
            calls = tuple(map(_call, message.tool_calls or ()))
            said = Message("assistant", _said(message), tool_calls=calls, thoughts=message.thoughts())
    return _with_marks(said, message)


def _call(call: MadeCall) -> ToolCall:
    return ToolCall(call.id, call.function.name, call.function.arguments, signature_in(call.extra_content))


def _with_marks(said: Message, message: AnyMessage) -> Message:
    if marks := marks_of(_markable(message)):
        said = msgspec.structs.replace(said, cache_marks=marks)
    return marked_at_end(said, message.cache_control)


def _markable(message: AnyMessage) -> Sequence[Markable]:
    """The parts of the neutral message; a plain text has none."""
    content = message.content
    if content is None or isinstance(content, str):
        return ()
    return [part for part in content if not isinstance(part, ThinkingPart)]


def _text(content: Text) -> str | list[Part]:
    return content if isinstance(content, str) else [TextPart(part.text) for part in content]


def _seen(content: str | list[SaidPart | SeenImagePart]) -> str | list[Part]:
    return content if isinstance(content, str) else [_part(part) for part in content]


def _part(part: SaidPart | SeenImagePart) -> Part:
    return TextPart(part.text) if isinstance(part, SaidPart) else ImagePart(ImageUrl(part.image_url.url))


def _said(message: AssistantMessage) -> str | list[Part]:
    """The text of the answer. A refusal counts as text."""
    content = message.content
    if content is None or isinstance(content, str):
        return content or message.refusal or ""
    said = (part for part in content if not isinstance(part, ThinkingPart))
    parts: list[Part] = [TextPart(part.refusal if isinstance(part, RefusalPart) else part.text) for part in said]
    return parts or message.refusal or ""


def _check_calls(messages: Sequence[AnyMessage]) -> None:
    """Check that every call is answered once before the conversation goes on."""
    waiting: set[str] = set()
    for position, message in enumerate(messages):
        where = f"messages[{position}]"
        if isinstance(message, ToolMessage):
            if message.tool_call_id not in waiting:
                reason = "answers no call of the assistant's message before it, or one that is answered already"
                raise InvalidRequest(f"`{where}.tool_call_id` {reason}.", param=f"{where}.tool_call_id")
            waiting.remove(message.tool_call_id)
            continue
        _check_answered(waiting, where)
        waiting = _calls_of(message, where)
    _check_answered(waiting, "messages")


def _check_answered(waiting: set[str], where: str) -> None:
    if waiting:
        missing = ", ".join(sorted(waiting))[:200]
        raise InvalidRequest(
            f"`{where}`: `tool_calls` must be followed by a message of role `tool` for each `tool_call_id`; "
            f"these have none: {missing}.",
            param=where,
        )


def _calls_of(message: AnyMessage, where: str) -> set[str]:
    calls = (message.tool_calls if isinstance(message, AssistantMessage) else None) or []
    ids = {call.id for call in calls}
    if len(ids) < len(calls):
        raise InvalidRequest(f"`{where}.tool_calls` has the same `id` twice.", param=f"{where}.tool_calls")
    return ids
