"""The messages of OpenAI's chat completions, strictly typed, and what they are in the project's own words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated, Any, ClassVar, Literal

import msgspec

from api.formats.cache_marks import (
    CacheBreakpoint,
    CacheControl,
    Markable,
    MarkField,
    fields_with_marks,
    marked_at_end,
    marks_of,
)
from api.formats.openai.thoughts import are_all_read, signature_in, thoughts_in
from shared.chat import ImagePart, ImageUrl, Message, Part, TextPart, ToolCall
from shared.errors import InvalidRequest
from shared.json_bounds import refuse_depth
from shared.thoughts import Thought

TOOL_NAME = r"^[a-zA-Z0-9_.:/-]{1,128}\Z"
ToolName = Annotated[str, msgspec.Meta(pattern=TOOL_NAME)]
"""Longer than some vendors take, and with characters that some refuse: workers write it in the vendor's way, and back."""
CalledName = Annotated[str, msgspec.Meta(min_length=1, max_length=256)]
"""Of a tool of the past, which may be another service's: workers write that in the vendor's way, too."""
CallId = Annotated[str, msgspec.Meta(pattern=r"^[!-~]{0,16384}\Z")]
"""Ids of any vendor and service: visible ASCII, which workers make fit. Gemini's own API in OpenAI's form gives empty ones
(github.com/vercel/ai/issues/7834), and those in which LiteLLM keeps signatures of thoughts have thousands of characters
(github.com/sierra-research/tau2-bench/issues/559; read 2026-11).
"""
THOUGHTS = ("reasoning_content", "reasoning", "reasoning_details")
"""The fields of a message of the assistant's that say what it thought."""
AtLeastOne = msgspec.Meta(min_length=1)


class _Strict(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    pass


class _Markable(_Strict, frozen=True, kw_only=True):
    """Its end may be marked for the vendor's cache, in Anthropic's form or in OpenAI's."""

    cache_control: CacheControl | None = None
    """Marks the end of this part for the vendor's cache, in Anthropic's form."""
    prompt_cache_breakpoint: CacheBreakpoint | None = None
    """Marks the end of this part for the vendor's cache, in OpenAI's form."""


class SeenImage(_Strict, frozen=True):
    """The image itself, as a `data:` URL. Nothing is fetched."""

    url: str
    """`data:image/png;base64,…`; other addresses are refused. Formats and sizes are those of the model's vendor."""


class SaidPart(_Markable, frozen=True, tag="text", tag_field="type"):
    """A text part of a message, `{"type": "text", "text"}`."""

    text: str
    """The text."""


class SeenImagePart(_Markable, frozen=True, tag="image_url", tag_field="type"):
    """`{"type": "image_url", "image_url": {"url": "data:image/png;base64,…", "detail"}}`."""

    image_url: SeenImage
    """The image; `detail` is left out and named in `x-ignored`."""


class RefusalPart(_Markable, frozen=True, tag="refusal", tag_field="type"):
    """A refusal in an earlier answer; the model is told it as the text that it said."""

    refusal: str
    """The words of the refusal."""


class ThinkingPart(msgspec.Struct, frozen=True, tag="thinking", tag_field="type"):
    """A thought of an earlier answer, as Mistral has it. It is left out and named."""


class CalledFunction(_Strict, frozen=True):
    """The function of an earlier call, with its arguments."""

    name: CalledName
    """The function's name, 1 to 256 characters."""
    arguments: str
    """The arguments, as the JSON text that the model wrote."""
    parsed_arguments: Any = None
    """Accepted and ignored: the official client adds it to answers that it has parsed."""

    def __post_init__(self) -> None:
        """Raises `ValueError`."""
        refuse_depth(parsed_arguments=self.parsed_arguments)


class MadeCall(_Strict, frozen=True):
    """A call of an earlier answer, as it came."""

    id: CallId
    """The id of the call, which its `tool` message repeats: up to 16,384 visible ASCII characters."""
    function: CalledFunction
    """The function that was called."""
    type: Literal["function", "builtin_function"] = "function"
    """`function`, or Kimi's `builtin_function`; both are handled alike."""
    index: int | None = None
    """Accepted and ignored: it is left over from a stream."""
    extra_content: Any = None
    """Google's `{"google": {"thought_signature"}}`, which Gemini needs back; anything else is left out."""

    def __post_init__(self) -> None:
        """Raises `ValueError`."""
        refuse_depth(extra_content=self.extra_content)


class OnlyTextPart(_Markable, frozen=True):
    """A text part where only text may stand."""

    TAG: ClassVar = "text"  # as `fingerprints.py` is to see it
    type: Literal["text"]
    text: str
    """The text."""


Text = str | Annotated[list[OnlyTextPart], AtLeastOne]


class _Turn(_Strict, frozen=True, kw_only=True, tag_field="role"):
    cache_control: CacheControl | None = None
    """Marks the end of this message for the vendor's cache, in Anthropic's form."""


class SystemMessage(_Turn, frozen=True, kw_only=True, tag="system"):
    """Instructions of whoever built the application."""

    content: Text
    """The instructions, as a text or as text parts."""


class DeveloperMessage(_Turn, frozen=True, kw_only=True, tag="developer"):
    """Instructions of whoever built the application, by OpenAI's newer name for them."""

    content: Text
    """The instructions, as a text or as text parts."""


class UserMessage(_Turn, frozen=True, kw_only=True, tag="user"):
    """What the user says: text, and images for models that see."""

    content: str | Annotated[list[SaidPart | SeenImagePart], AtLeastOne]
    """A text, or a list of text and image parts."""


class ToolMessage(_Turn, frozen=True, kw_only=True, tag="tool"):
    """The result of the tool call `tool_call_id`. A `content` of null or without parts is an empty result."""

    content: str | list[SaidPart | SeenImagePart] | None
    """The result, as a text or as parts; null is an empty result."""
    tool_call_id: CallId
    """The `id` of the call that this answers; each call is answered exactly once."""


class AssistantMessage(_Turn, frozen=True, kw_only=True, tag="assistant"):
    """An earlier answer, with everything that clients send back of one. `annotations`, as the sources of an answer, are left
    out and named. A `content` of null says nothing.
    """

    content: str | list[SaidPart | RefusalPart | ThinkingPart] | None = None
    """The text of the answer; null where the model only called tools."""
    tool_calls: list[MadeCall] | None = None
    """The calls of the answer; a `tool` message for each follows."""
    refusal: str | None = None
    """The words of a refusal; taken as the text where there is no other."""
    annotations: list[Any] | None = None
    """Left out and named in `x-ignored`: no model is told the sources of an answer."""
    audio: None = None
    """May only be null: no sound is sent back."""
    function_call: None = None
    """May only be null: use `tool_calls`."""
    parsed: Any = None
    """Accepted and ignored: the official client adds it to answers that it has parsed."""
    reasoning_content: Any = None
    """The text of the thoughts, as they came; models that want them back are told them."""
    reasoning: Any = None
    """The same in OpenRouter's field; `reasoning_content` wins where both are given."""
    reasoning_details: Any = None
    """The signed thoughts, unchanged as they came; entries that nobody here wrote are left out and named."""

    def __post_init__(self) -> None:
        """Raises `ValueError`."""
        thoughts = {"reasoning": self.reasoning, "reasoning_details": self.reasoning_details}
        refuse_depth(
            parsed=self.parsed, annotations=self.annotations, reasoning_content=self.reasoning_content, **thoughts
        )

    def thoughts(self) -> tuple[Thought, ...]:
        """What the model thought before this answer; what is none of it is nothing."""
        details = self.reasoning_details if isinstance(self.reasoning_details, list) else None
        return thoughts_in(details, self.thought_text)

    @property
    def thought_text(self) -> str | None:
        """The text that came back of what the model thought; None for none."""
        texts = (text for text in (self.reasoning_content, self.reasoning) if isinstance(text, str) and text)
        return next(texts, None)

    @property
    def has_odd_details(self) -> bool:
        """Whether there is something in `reasoning_details` that no model is told."""
        return bool(self.reasoning_details) and not are_all_read(self.reasoning_details, self.thought_text)


AnyMessage = SystemMessage | DeveloperMessage | UserMessage | ToolMessage | AssistantMessage


def neutral_messages(messages: Sequence[AnyMessage]) -> list[Message]:
    """In the project's own words. Raises `InvalidRequest` when calls and the messages that answer them do not fit."""
    _check_calls(messages)
    return [_neutral(message) for message in messages]


def thought_fields(messages: Sequence[AnyMessage]) -> tuple[str, ...]:
    """The fields in which thoughts come back."""
    answers = [message for message in messages if isinstance(message, AssistantMessage)]
    fields = [field for field in THOUGHTS if any(getattr(answer, field) for answer in answers)]
    signed = any(call.extra_content for answer in answers for call in answer.tool_calls or ())
    return (*(f"messages[].{field}" for field in fields), *(["messages[].tool_calls[].extra_content"] * signed))


def left_out_of(messages: Sequence[AnyMessage]) -> list[str]:
    """The names of the fields of earlier answers that no model is told, each name once."""
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
    """Whether all that this field says of thoughts is known here."""
    given = getattr(answer, field)
    if field == "reasoning_details":
        return not answer.has_odd_details
    return not given or isinstance(given, str)


def _has_thoughts(answer: AssistantMessage) -> bool:
    return isinstance(answer.content, list) and any(isinstance(part, ThinkingPart) for part in answer.content)


def marks_in(messages: Sequence[AnyMessage]) -> Iterator[MarkField]:
    """The fields that mark what is to be cached."""
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
    """The parts as they stand in the neutral message; a plain text is none."""
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
    """A refusal is text that the model has said, too."""
    content = message.content
    if content is None or isinstance(content, str):
        return content or message.refusal or ""
    said = (part for part in content if not isinstance(part, ThinkingPart))
    parts: list[Part] = [TextPart(part.refusal if isinstance(part, RefusalPart) else part.text) for part in said]
    return parts or message.refusal or ""


def _check_calls(messages: Sequence[AnyMessage]) -> None:
    """Every call is answered, once, before the talk goes on."""
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
