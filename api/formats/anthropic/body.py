"""The body of `POST /v1/messages`, strictly typed: what Anthropic's Messages API takes and this service can honour.

Null means not given. What a body has besides is left out and named, see `api/formats/known_fields.py`.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec

from api.formats.wishes import Thinking
from shared.chat import MESSAGES_CEILING, TOOLS_CEILING, Probability, StopSequence, Tokens, TopK
from shared.json_bounds import refuse_depth

USER_ID_LENGTH_MAX = 256
CallId = Annotated[str, msgspec.Meta(pattern=r"^[!-~]{1,256}\Z")]
ToolName = Annotated[str, msgspec.Meta(pattern=r"^[a-zA-Z0-9_.:/-]{1,128}\Z")]


class _Strict(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    pass


class Block(_Strict, frozen=True, kw_only=True, tag_field="type"):
    """A part of a turn."""


class TextBlock(Block, frozen=True, kw_only=True, tag="text"):
    """`{"type": "text", "text"}`."""

    text: str


class Source(_Strict, frozen=True, kw_only=True, tag_field="type"):
    """Where an image or a document is: in the body itself, because nothing is ever fetched."""


class Base64Source(Source, frozen=True, kw_only=True, tag="base64"):
    """`{"type": "base64", "media_type", "data"}`."""

    media_type: str
    data: str


class PlainTextSource(Source, frozen=True, kw_only=True, tag="text"):
    """`{"type": "text", "media_type": "text/plain", "data"}`."""

    data: str
    media_type: Literal["text/plain"] = "text/plain"


class ContentSource(Source, frozen=True, kw_only=True, tag="content"):
    """`{"type": "content", "content"}`: text in blocks."""

    content: str | list[TextBlock]


class UrlSource(Source, frozen=True, kw_only=True, tag="url"):
    """Refused in words: nothing is ever fetched."""

    url: str


class FileSource(Source, frozen=True, kw_only=True, tag="file"):
    """Refused in words: there are no such files here."""

    file_id: str


class ImageBlock(Block, frozen=True, kw_only=True, tag="image"):
    """`{"type": "image", "source": {"type": "base64", "media_type": "image/png", "data"}}`."""

    source: Base64Source | UrlSource | FileSource


class DocumentBlock(Block, frozen=True, kw_only=True, tag="document"):
    """A document of plain text, which the model is given as text. Others are refused: no model here takes them."""

    source: Base64Source | PlainTextSource | ContentSource | UrlSource | FileSource
    title: str | None = None
    context: str | None = None


class ToolReferenceBlock(Block, frozen=True, kw_only=True, tag="tool_reference"):
    """A tool that a search for tools has found; all tools are on offer from the beginning here."""

    tool_name: str


class DirectCaller(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Anthropic's word for a tool that the model itself has asked for; there are no others here."""

    type: Literal["direct"]


class ToolUseBlock(Block, frozen=True, kw_only=True, tag="tool_use"):
    """What the model asked for."""

    id: CallId
    name: ToolName
    input: dict[str, Any]
    caller: DirectCaller | None = None

    def __post_init__(self) -> None:
        """Raises `ValueError`, which msgspec makes a fault of the body."""
        refuse_depth(input=self.input)


class ToolResultBlock(Block, frozen=True, kw_only=True, tag="tool_result"):
    """The result of the tool call `tool_use_id`."""

    tool_use_id: CallId
    content: str | list[TextBlock | ImageBlock | DocumentBlock | ToolReferenceBlock] | None = None
    is_error: bool | None = None


class ThinkingBlock(Block, frozen=True, kw_only=True, tag="thinking"):
    """A thought of an earlier answer that the caller sends back. It is left out and named."""

    thinking: str | None = None
    signature: str | None = None


class RedactedThinkingBlock(Block, frozen=True, kw_only=True, tag="redacted_thinking"):
    """A thought that Anthropic has encrypted. It is left out and named, too."""

    data: str | None = None


UserBlocks = Annotated[list[TextBlock | ImageBlock | DocumentBlock | ToolResultBlock], msgspec.Meta(min_length=1)]


class UserTurn(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="user", tag_field="role"):
    """What the caller says, and what its tools answered. Neighbouring turns of one role are one turn."""

    content: str | UserBlocks


class AssistantTurn(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="assistant", tag_field="role"):
    """What the model said, and what it asked for."""

    content: str | list[TextBlock | ToolUseBlock | ThinkingBlock | RedactedThinkingBlock]


class SystemTurn(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="system", tag_field="role"):
    """Instructions in the middle of the talk."""

    content: str | list[TextBlock]


Turn = UserTurn | AssistantTurn | SystemTurn


class OfferedTool(_Strict, frozen=True, kw_only=True):
    """A tool of the caller's own has `input_schema`. Those that Anthropic runs itself (`web_search_20250305`) are left out
    and named. `eager_input_streaming` asks for what streams do anyway.
    """

    name: ToolName | None = None
    input_schema: dict[str, Any] | None = None
    type: str | None = None
    description: str | None = None
    strict: bool | None = None
    eager_input_streaming: bool | None = None

    def __post_init__(self) -> None:
        """Raises `ValueError`."""
        refuse_depth(input_schema=self.input_schema)


class Choice(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="type"):
    """Whether the model may ask for tools."""

    disable_parallel_tool_use: bool | None = None


class AutoChoice(Choice, frozen=True, kw_only=True, tag="auto"):
    """It may."""


class AnyChoice(Choice, frozen=True, kw_only=True, tag="any"):
    """It must, for whichever it likes."""


class ToolNamedChoice(Choice, frozen=True, kw_only=True, tag="tool"):
    """It must, for this one."""

    name: ToolName


class NoneChoice(Choice, frozen=True, kw_only=True, tag="none"):
    """It must not."""

    disable_parallel_tool_use: None = None


Choices = AutoChoice | AnyChoice | ToolNamedChoice | NoneChoice


class Metadata(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`user_id`: the caller's own name for its user."""

    user_id: Annotated[str, msgspec.Meta(max_length=USER_ID_LENGTH_MAX)] | None = None


class JsonFormat(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The answer is JSON that follows `schema`."""

    type: Literal["json_schema"]
    schema: dict[str, Any]

    def __post_init__(self) -> None:
        """Raises `ValueError`."""
        refuse_depth(schema=self.schema)


class OutputConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How hard the model tries, and the form of its answer."""

    effort: str | None = None
    format: JsonFormat | None = None


class CountRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The body of `POST /v1/messages/count_tokens`; `model` is any of this service's names."""

    model: str
    messages: Annotated[list[Turn], msgspec.Meta(min_length=1, max_length=MESSAGES_CEILING)]
    system: str | list[TextBlock] | None = None
    tools: Annotated[list[OfferedTool], msgspec.Meta(max_length=TOOLS_CEILING)] | None = None
    tool_choice: Choices | None = None
    thinking: Thinking | None = None
    output_config: OutputConfig | None = None
    output_format: JsonFormat | None = None


class MessagesRequest(CountRequest, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The body of `POST /v1/messages`. What it has besides is left out and named in `x-ignored`, as are wishes that the model
    lacks.
    """

    max_tokens: Tokens
    stop_sequences: list[StopSequence] | None = None
    stream: bool | None = None
    temperature: Probability | None = None
    top_p: Probability | None = None
    top_k: TopK | None = None
    metadata: Metadata | None = None
    service_tier: str | None = None
    speed: str | None = None
    thread: Any = None

    def __post_init__(self) -> None:
        """Raises `ValueError`."""
        refuse_depth(thread=self.thread)
