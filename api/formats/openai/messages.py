"""The messages of OpenAI's chat completions, strictly typed."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

import msgspec

from api.formats.cache_marks import (
    CacheBreakpoint,
    CacheControl,
)
from api.formats.openai.thoughts import are_all_read, thoughts_in
from shared.json_bounds import refuse_depth
from shared.patterns import told_as
from shared.thoughts import Thought

TOOL_NAME = told_as("1 to 128 letters, digits or `_.:/-`", r"^[a-zA-Z0-9_.:/-]{1,128}\Z")
ToolName = Annotated[str, msgspec.Meta(pattern=TOOL_NAME)]
"""Longer than some vendors take, and with characters that some refuse: workers write it in the vendor's way, and back."""
CalledName = Annotated[str, msgspec.Meta(min_length=1, max_length=256)]
"""Of a tool of the past, which may be another service's: workers write that in the vendor's way, too."""
CALL_ID = told_as("up to 16,384 visible characters of ASCII", r"^[!-~]{0,16384}\Z")
CallId = Annotated[str, msgspec.Meta(pattern=CALL_ID)]
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
