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
"""The name of a tool. It may be longer than some vendors take, or have characters that some refuse: workers convert it for
the vendor, and back.
"""
CalledName = Annotated[str, msgspec.Meta(min_length=1, max_length=256)]
"""The name of a tool in an earlier call, which another service may have made. Workers convert it for the vendor."""
CALL_ID = told_as("up to 16,384 visible characters of ASCII", r"^[!-~]{0,16384}\Z")
CallId = Annotated[str, msgspec.Meta(pattern=CALL_ID)]
"""An id of any vendor or service: visible ASCII, which workers convert for the vendor. Gemini's own API in OpenAI's form
sends empty ids (github.com/vercel/ai/issues/7834), and ids in which LiteLLM keeps signatures of thoughts have thousands of
characters (github.com/sierra-research/tau2-bench/issues/559; read 2026-11).
"""
THOUGHTS = ("reasoning_content", "reasoning", "reasoning_details")
"""Fields of an assistant's message that contain thoughts."""
AtLeastOne = msgspec.Meta(min_length=1)


class _Strict(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    pass


class _Markable(_Strict, frozen=True, kw_only=True):
    """A part whose end may have a cache mark, in Anthropic's form or in OpenAI's."""

    cache_control: CacheControl | None = None
    """A cache mark in Anthropic's form: the vendor's cache keeps everything up to the end of this part."""
    prompt_cache_breakpoint: CacheBreakpoint | None = None
    """A cache mark in OpenAI's form: the vendor's cache keeps everything up to the end of this part."""


class SeenImage(_Strict, frozen=True):
    """An image as a `data:` URL. Nothing is fetched."""

    url: str
    """The image, `data:image/png;base64,…`; other addresses are refused. The formats and sizes that a model takes
    depend on its vendor.
    """


class SaidPart(_Markable, frozen=True, tag="text", tag_field="type"):
    """A text part of a message, `{"type": "text", "text"}`."""

    text: str
    """The text of the part."""


class SeenImagePart(_Markable, frozen=True, tag="image_url", tag_field="type"):
    """An image part of a message, `{"type": "image_url", "image_url": {"url": "data:image/png;base64,…"}}`."""

    image_url: SeenImage
    """The image. A field `detail` in it is left out and named in `x-ignored`."""


class RefusalPart(_Markable, frozen=True, tag="refusal", tag_field="type"):
    """A refusal in an earlier answer. The model is told it as its own text."""

    refusal: str
    """The words of the refusal."""


class ThinkingPart(msgspec.Struct, frozen=True, tag="thinking", tag_field="type"):
    """A thought of an earlier answer in Mistral's form; it is left out and named in `x-ignored`."""


class CalledFunction(_Strict, frozen=True):
    """The function of an earlier call, with its arguments."""

    name: CalledName
    """The function's name, 1 to 256 characters."""
    arguments: str
    """The arguments, as the JSON text that the model wrote."""
    parsed_arguments: Any = None
    """A parsed form that the official client adds to answers; accepted and ignored."""

    def __post_init__(self) -> None:
        """Raises `ValueError`, which msgspec reports as an error of the body."""
        refuse_depth(parsed_arguments=self.parsed_arguments)


class MadeCall(_Strict, frozen=True):
    """A tool call of an earlier answer, unchanged."""

    id: CallId
    """The id of the call, which its `tool` message repeats: up to 16,384 visible ASCII characters."""
    function: CalledFunction
    """The function that was called."""
    type: Literal["function", "builtin_function"] = "function"
    """`function`, or Kimi's `builtin_function`; both are handled alike."""
    index: int | None = None
    """A place that calls in chunks of a stream have; accepted and ignored."""
    extra_content: Any = None
    """Google's `{"google": {"thought_signature"}}`, which Gemini needs back; anything else is left out."""

    def __post_init__(self) -> None:
        """Raises `ValueError`, which msgspec reports as an error of the body."""
        refuse_depth(extra_content=self.extra_content)


class OnlyTextPart(_Markable, frozen=True):
    """A text part where no other kind of part is allowed."""

    TAG: ClassVar = "text"  # read by `fingerprints.py`
    type: Literal["text"]
    text: str
    """The text of the part."""


Text = str | Annotated[list[OnlyTextPart], AtLeastOne]


class _Turn(_Strict, frozen=True, kw_only=True, tag_field="role"):
    cache_control: CacheControl | None = None
    """A cache mark in Anthropic's form: the vendor's cache keeps everything up to the end of this message."""


class SystemMessage(_Turn, frozen=True, kw_only=True, tag="system"):
    """A message with instructions of the application's developer."""

    content: Text
    """The instructions, as a text or as text parts."""


class DeveloperMessage(_Turn, frozen=True, kw_only=True, tag="developer"):
    """A message with instructions of the application's developer, by OpenAI's newer name for the role."""

    content: Text
    """The instructions, as a text or as text parts."""


class UserMessage(_Turn, frozen=True, kw_only=True, tag="user"):
    """A message of the user: text, and images for models that take them."""

    content: str | Annotated[list[SaidPart | SeenImagePart], AtLeastOne]
    """The message as a text, or as a list of text and image parts."""


class ToolMessage(_Turn, frozen=True, kw_only=True, tag="tool"):
    """The result of a tool call."""

    content: str | list[SaidPart | SeenImagePart] | None
    """The result, as a text or as parts; null for an empty result."""
    tool_call_id: CallId
    """The `id` of the call that has this result; each call has exactly one."""


class AssistantMessage(_Turn, frozen=True, kw_only=True, tag="assistant"):
    """An earlier answer of the model, with everything that clients send back of it."""

    content: str | list[SaidPart | RefusalPart | ThinkingPart] | None = None
    """The text of the answer; null if the model only called tools."""
    tool_calls: list[MadeCall] | None = None
    """The tool calls of the answer; a `tool` message for each follows."""
    refusal: str | None = None
    """The words of a refusal; they are the text of the answer if there is no other."""
    annotations: list[Any] | None = None
    """Left out and named in `x-ignored`: no model is told the sources of an answer."""
    audio: None = None
    """Only null: no sound is sent back."""
    function_call: None = None
    """Only null: use `tool_calls`."""
    parsed: Any = None
    """A parsed form that the official client adds to answers; accepted and ignored."""
    reasoning_content: Any = None
    """The text of the thoughts, unchanged; models that want it back are told it."""
    reasoning: Any = None
    """The text of the thoughts in OpenRouter's field; `reasoning_content` wins if both are given."""
    reasoning_details: Any = None
    """The signed thoughts, unchanged. Entries that this service cannot read are left out and named in `x-ignored`."""

    def __post_init__(self) -> None:
        """Raises `ValueError`, which msgspec reports as an error of the body."""
        thoughts = {"reasoning": self.reasoning, "reasoning_details": self.reasoning_details}
        refuse_depth(
            parsed=self.parsed, annotations=self.annotations, reasoning_content=self.reasoning_content, **thoughts
        )

    def thoughts(self) -> tuple[Thought, ...]:
        """The thoughts before this answer; entries that are no thoughts are skipped."""
        details = self.reasoning_details if isinstance(self.reasoning_details, list) else None
        return thoughts_in(details, self.thought_text)

    @property
    def thought_text(self) -> str | None:
        """The text of the thoughts that was sent back, or None."""
        texts = (text for text in (self.reasoning_content, self.reasoning) if isinstance(text, str) and text)
        return next(texts, None)

    @property
    def has_odd_details(self) -> bool:
        """True if `reasoning_details` contains something that no model is told."""
        return bool(self.reasoning_details) and not are_all_read(self.reasoning_details, self.thought_text)


AnyMessage = SystemMessage | DeveloperMessage | UserMessage | ToolMessage | AssistantMessage
