"""The body of `POST /v1/messages`, strictly typed: what Anthropic's Messages API takes and this service can honour.

Null means not given. A field of type None is one of Anthropic's that nothing here can honour: naming it is refused.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec

from shared.chat import Probability, StopSequence, Tokens

USER_ID_LENGTH_MAX = 256
CallId = Annotated[str, msgspec.Meta(pattern=r"^[!-~]{1,256}\Z")]
ToolName = Annotated[str, msgspec.Meta(pattern=r"^[a-zA-Z0-9_-]{1,64}\Z")]
"""Anthropic allows 128 characters, but the other vendors 64, and any of them may be asked."""


class CacheControl(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Accepted and without effect: vendors cache by themselves, and what was read from a cache is in the usage."""

    type: Literal["ephemeral"]
    ttl: Literal["5m", "1h"] | None = None


class Block(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="type"):
    """A part of a turn."""

    cache_control: CacheControl | None = None


class TextBlock(Block, frozen=True, kw_only=True, tag="text"):
    """`{"type": "text", "text"}`."""

    text: str
    citations: None = None


class Base64Source(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="base64", tag_field="type"
):
    """The image itself; nothing is ever fetched."""

    media_type: Literal["image/png", "image/jpeg", "image/gif", "image/webp"]
    data: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9+/]+={0,2}\Z")]


class ImageBlock(Block, frozen=True, kw_only=True, tag="image"):
    """`{"type": "image", "source": {"type": "base64", …}}`."""

    source: Base64Source
    transformations: None = None


class DirectCaller(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Anthropic's word for a tool that the model itself has asked for; there are no others here."""

    type: Literal["direct"]


class ToolUseBlock(Block, frozen=True, kw_only=True, tag="tool_use"):
    """What the model asked for."""

    id: CallId
    name: ToolName
    input: dict[str, Any]
    caller: DirectCaller | None = None
    toolset_name: None = None


class ToolResultBlock(Block, frozen=True, kw_only=True, tag="tool_result"):
    """What the tool answered. `is_error` is accepted; the vendors are told by the text alone."""

    tool_use_id: CallId
    content: str | list[TextBlock] | None = None
    is_error: bool | None = None
    toolset_name: None = None


UserBlocks = Annotated[list[TextBlock | ImageBlock | ToolResultBlock], msgspec.Meta(min_length=1)]


class UserTurn(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="user", tag_field="role"):
    """What the caller says, and what its tools answered."""

    content: str | UserBlocks


class AssistantTurn(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="assistant", tag_field="role"):
    """What the model said, and what it asked for."""

    content: str | list[TextBlock | ToolUseBlock]


Turn = UserTurn | AssistantTurn


class CustomTool(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A tool of the caller's own. `eager_input_streaming` asks for what streams do anyway."""

    name: ToolName
    input_schema: dict[str, Any]
    type: Literal["custom"] | None = None
    description: str | None = None
    strict: bool | None = None
    cache_control: CacheControl | None = None
    eager_input_streaming: bool | None = None
    allowed_callers: Annotated[list[Literal["direct"]], msgspec.Meta(min_length=1)] | None = None
    defer_loading: Literal[False] | None = None
    input_examples: None = None


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


class NoThinking(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Thoughts are never given, so they can only be switched off."""

    type: Literal["disabled"]


class JsonFormat(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The answer is JSON that follows `schema`."""

    type: Literal["json_schema"]
    schema: dict[str, Any]


class OutputConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How hard the model tries, and the form of its answer."""

    effort: Literal["low", "medium", "high"] | None = None
    format: JsonFormat | None = None
    task_budget: None = None


class MessagesRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The body of `POST /v1/messages`; `model` is any of this service's names."""

    model: str
    messages: Annotated[list[Turn], msgspec.Meta(min_length=1)]
    max_tokens: Tokens
    system: str | list[TextBlock] | None = None
    stop_sequences: list[StopSequence] | None = None
    stream: bool | None = None
    temperature: Probability | None = None
    top_p: Probability | None = None
    metadata: Metadata | None = None
    tools: list[CustomTool] | None = None
    tool_choice: Choices | None = None
    thinking: NoThinking | None = None
    output_config: OutputConfig | None = None
    service_tier: Literal["auto", "standard_only"] | None = None
    cache_control: CacheControl | None = None
    speed: Literal["standard"] | None = None
    top_k: None = None
    container: None = None
    context_management: None = None
    diagnostics: None = None
    inference_geo: None = None
    mcp_servers: None = None
    output_format: None = None
