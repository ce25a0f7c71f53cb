"""The body of `POST /v1/messages`, strictly typed: the fields of Anthropic's Messages API that this service can honour.

Null means not given. Other fields are left out and named, see `api/formats/known_fields.py`.
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
    """What the user says, and the results of tools. Neighbouring turns of one role are joined."""

    content: str | UserBlocks
    """A text, or blocks of text, images, documents, search results and tool results."""


class AssistantTurn(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="assistant", tag_field="role"):
    """An earlier answer of the model, with its tool calls."""

    content: str | list[AssistantBlock]
    """A text, or the blocks of an earlier answer, as they came."""


class SystemTurn(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="system", tag_field="role"):
    """Instructions in the middle of the conversation."""

    content: str | list[OnlyTextBlock]
    """The instructions, as a text or as blocks of text."""


Turn = UserTurn | AssistantTurn | SystemTurn


class OfferedTool(Strict, frozen=True, kw_only=True):
    """A tool of the caller's own has an `input_schema`. Tools that Anthropic runs itself (`web_search_20250305`) are left
    out and named.
    """

    name: ToolName | None = None
    """The tool's name: 1 to 128 letters, digits and any of `_.:/-`, unique among the tools."""
    input_schema: dict[str, Any] | None = None
    """A JSON Schema of the arguments, with `"type": "object"`."""
    type: str | None = None
    """`custom` or left out for your own tools; tools that Anthropic runs are left out, its client tools (`bash_…`) refused.
    """
    description: str | None = None
    """What the tool does; the model reads it."""
    strict: bool | None = None
    """True: the arguments follow the schema for sure; done by OpenAI's models, left out by others."""
    eager_input_streaming: bool | None = None
    """Accepted and without effect: arguments are streamed as they come."""
    cache_control: EphemeralMark | None = None
    """Marks everything up to this tool for the vendor's cache."""

    def __post_init__(self) -> None:
        """Raises `ValueError`, which msgspec reports as an error of the body."""
        refuse_depth(input_schema=self.input_schema)


class Choice(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="type"):
    """Whether the model may call tools."""

    disable_parallel_tool_use: bool | None = None
    """True: at most one call in an answer. False by default."""


class AutoChoice(Choice, frozen=True, kw_only=True, tag="auto"):
    """The model may call tools; this is the default."""


class AnyChoice(Choice, frozen=True, kw_only=True, tag="any"):
    """The model must call a tool, whichever it likes."""


class ToolNamedChoice(Choice, frozen=True, kw_only=True, tag="tool"):
    """The model must call this tool."""

    name: ToolName
    """The name of a tool in `tools`."""


class NoneChoice(Choice, frozen=True, kw_only=True, tag="none"):
    """The model must not call a tool."""

    disable_parallel_tool_use: None = None
    """May only be null: no tool is called at all."""


Choices = AutoChoice | AnyChoice | ToolNamedChoice | NoneChoice


class Metadata(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who uses your application."""

    user_id: str | None = None
    """Your own name for your user; OpenAI's models are told it, for others it is left out."""


class JsonFormat(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The answer is JSON that follows `schema`."""

    type: Literal["json_schema"]
    """Always `json_schema`."""
    schema: dict[str, Any]
    """The JSON Schema; what it may contain depends on the model's vendor."""

    def __post_init__(self) -> None:
        """Raises `ValueError`, which msgspec reports as an error of the body."""
        refuse_depth(schema=self.schema)


class OutputConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How hard the model tries, and the form of its answer."""

    effort: str | None = None
    """`low`, `medium`, `high` or another reasoning effort; the nearest that the model has is used."""
    format: JsonFormat | None = None
    """The form of the answer: JSON that follows a schema. Left out, it is text."""


class CountRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The body of `POST /v1/messages/count_tokens`: what the input of a message is made of."""

    model: str
    """A name or an alias of `GET /v1/models`."""
    messages: Annotated[list[Turn], msgspec.Meta(min_length=1, max_length=MESSAGES_CEILING)]
    """The conversation so far, oldest first."""
    system: str | list[OnlyTextBlock] | None = None
    """Instructions, as a text or as blocks of text."""
    tools: Annotated[list[OfferedTool], msgspec.Meta(max_length=TOOLS_CEILING)] | None = None
    """Tools that the model may call; those that Anthropic would run itself are left out."""
    tool_choice: Choices | None = None
    """Whether the model may, must or must not call a tool, or which one."""
    thinking: Thinking | None = None
    """Whether and how much the model thinks, and whether its thoughts are shown."""
    output_config: OutputConfig | None = None
    """The reasoning effort, and the form of the answer."""
    output_format: JsonFormat | None = None
    """The older place of `output_config.format`, which wins where both are given."""
    cache_control: EphemeralMark | None = None
    """Marks the whole request for the vendor's cache."""


class MessagesRequest(CountRequest, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The body of `POST /v1/messages`. Unknown fields, and wishes that the model lacks, are left out and named in
    `x-ignored`.
    """

    max_tokens: Tokens
    """Most output tokens, thinking included; lowered to the model's maximum and to what the account affords.
    `x-output-limit` says what holds.
    """
    stop_sequences: list[StopSequence] | None = None
    """Texts at which the answer ends; a model that takes none, or fewer, refuses them."""
    stream: bool | None = None
    """True: the answer comes as server-sent events. False by default."""
    temperature: Probability | None = None
    """Passed on to the vendor; a model that takes none refuses any but 1, its default."""
    top_p: Probability | None = None
    """Passed on to the vendor; a model that takes none refuses any but 1, its default."""
    top_k: TopK | None = None
    """Only the most likely tokens are considered, where the model has it (Claude, Gemini); others leave it out."""
    metadata: Metadata | None = None
    """Who uses your application."""
    service_tier: str | None = None
    """`flex`: slower, at the model's flex price, where it has one (else a 400). `auto`, `standard_only` and `default`
    change nothing.
    """
    speed: str | None = None
    """Only `standard`, which changes nothing; another value is left out and named in `x-ignored`."""
    models: list[str] | None = None
    """Other models to fall back on, in order, where `model` cannot be had; `x-model-served` says which one answered."""
    thread: Any = None
    """Refused: send the whole conversation in `messages`."""

    def __post_init__(self) -> None:
        """Raises `ValueError`, which msgspec reports as an error of the body."""
        refuse_depth(thread=self.thread)
