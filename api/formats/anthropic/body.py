"""The body of `POST /v1/messages`, strictly typed: what Anthropic's Messages API takes and this service can honour.

Null means not given. What a body has besides is left out and named, see `api/formats/known_fields.py`.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec

from api.formats.anthropic.content import (
    CompactionBlock,
    DocumentBlock,
    EphemeralMark,
    ImageBlock,
    OnlyTextBlock,
    RedactedThinkingBlock,
    SearchResultBlock,
    ServerToolUseBlock,
    Strict,
    TextBlock,
    ThinkingBlock,
    ToolName,
    ToolResultBlock,
    ToolUseBlock,
)
from api.formats.wishes import Thinking
from shared.chat import MESSAGES_CEILING, TOOLS_CEILING, Probability, StopSequence, Tokens, TopK
from shared.json_bounds import refuse_depth

UserBlocks = Annotated[
    list[TextBlock | ImageBlock | DocumentBlock | SearchResultBlock | ToolResultBlock], msgspec.Meta(min_length=1)
]
AssistantBlock = TextBlock | ToolUseBlock | ThinkingBlock | RedactedThinkingBlock | CompactionBlock | ServerToolUseBlock


class UserTurn(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="user", tag_field="role"):
    """What the caller says, and what its tools answered. Neighbouring turns of one role are one turn."""

    content: str | UserBlocks


class AssistantTurn(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="assistant", tag_field="role"):
    """What the model said, and what it asked for."""

    content: str | list[AssistantBlock]


class SystemTurn(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="system", tag_field="role"):
    """Instructions in the middle of the talk."""

    content: str | list[OnlyTextBlock]


Turn = UserTurn | AssistantTurn | SystemTurn


class OfferedTool(Strict, frozen=True, kw_only=True):
    """A tool of the caller's own has `input_schema`. Those that Anthropic runs itself (`web_search_20250305`) are left out
    and named. `eager_input_streaming` asks for what streams do anyway.
    """

    name: ToolName | None = None
    input_schema: dict[str, Any] | None = None
    type: str | None = None
    description: str | None = None
    strict: bool | None = None
    eager_input_streaming: bool | None = None
    cache_control: EphemeralMark | None = None

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

    user_id: str | None = None


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
    """The body of `POST /v1/messages/count_tokens`; `model` is any of this service's names. `cache_control` marks
    all of it.
    """

    model: str
    messages: Annotated[list[Turn], msgspec.Meta(min_length=1, max_length=MESSAGES_CEILING)]
    system: str | list[OnlyTextBlock] | None = None
    tools: Annotated[list[OfferedTool], msgspec.Meta(max_length=TOOLS_CEILING)] | None = None
    tool_choice: Choices | None = None
    thinking: Thinking | None = None
    output_config: OutputConfig | None = None
    output_format: JsonFormat | None = None
    cache_control: EphemeralMark | None = None


class MessagesRequest(CountRequest, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The body of `POST /v1/messages`; `models` are others to fall back on, in order. What it has besides is left out and
    named in `x-ignored`, as are wishes that the model lacks.
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
    models: list[str] | None = None
    thread: Any = None

    def __post_init__(self) -> None:
        """Raises `ValueError`."""
        refuse_depth(thread=self.thread)
