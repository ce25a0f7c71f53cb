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
    """A turn of the user: what the user says, and the results of tools. Neighbouring turns of one role are joined."""

    content: str | UserBlocks
    """The turn as a text, or as blocks of text, images, documents, search results and tool results."""


class AssistantTurn(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="assistant", tag_field="role"):
    """An earlier answer of the model, with its tool calls."""

    content: str | list[AssistantBlock]
    """The turn as a text, or as the blocks of an earlier answer, unchanged."""


class SystemTurn(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="system", tag_field="role"):
    """Instructions in the middle of the conversation."""

    content: str | list[OnlyTextBlock]
    """The instructions, as a text or as blocks of text."""


Turn = UserTurn | AssistantTurn | SystemTurn


class OfferedTool(Strict, frozen=True, kw_only=True):
    """A tool that the model may call. Your own tools have an `input_schema`. Tools that Anthropic runs itself
    (`web_search_20250305`) are left out and named in `x-ignored`.
    """

    name: ToolName | None = None
    """The tool's name: 1 to 128 letters, digits and any of `_.:/-`, unique among the tools."""
    input_schema: dict[str, Any] | None = None
    """A JSON Schema of the arguments, with `"type": "object"`."""
    type: str | None = None
    """`custom`, or left out, for your own tools. Tools that Anthropic runs are left out; client tools whose schema only
    Anthropic's models know (`bash_…`) are refused.
    """
    description: str | None = None
    """A text that says what the tool does; the model reads it."""
    strict: bool | None = None
    """True makes the arguments follow the schema for sure, with OpenAI's models; other models leave the field out.
    False by default.
    """
    eager_input_streaming: bool | None = None
    """Accepted and without effect: arguments are always streamed as the model writes them."""
    cache_control: EphemeralMark | None = None
    """A cache mark: the vendor's cache keeps everything up to this tool."""

    def __post_init__(self) -> None:
        """Raises `ValueError`, which msgspec reports as an error of the body."""
        refuse_depth(input_schema=self.input_schema)


class Choice(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="type"):
    """A choice that says whether the model may call tools."""

    disable_parallel_tool_use: bool | None = None
    """True allows one call in an answer at most. False by default."""


class AutoChoice(Choice, frozen=True, kw_only=True, tag="auto"):
    """The model may call tools; this is the default."""


class AnyChoice(Choice, frozen=True, kw_only=True, tag="any"):
    """The model must call one of the tools, no matter which."""


class ToolNamedChoice(Choice, frozen=True, kw_only=True, tag="tool"):
    """The model must call the tool `name`."""

    name: ToolName
    """The name of a tool in `tools`."""


class NoneChoice(Choice, frozen=True, kw_only=True, tag="none"):
    """The model must not call a tool."""

    disable_parallel_tool_use: None = None
    """Only null: with this choice no tool is called at all."""


Choices = AutoChoice | AnyChoice | ToolNamedChoice | NoneChoice


class Metadata(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A description of the application's user."""

    user_id: str | None = None
    """Your own name for your user. OpenAI's models are told it; for others it is left out."""


class JsonFormat(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A form of the answer: JSON that follows `schema`."""

    type: Literal["json_schema"]
    """Always `json_schema`."""
    schema: dict[str, Any]
    """The JSON Schema; the keywords that it may contain depend on the model's vendor."""

    def __post_init__(self) -> None:
        """Raises `ValueError`, which msgspec reports as an error of the body."""
        refuse_depth(schema=self.schema)


class OutputConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The effort of the model, and the form of its answer."""

    effort: str | None = None
    """A reasoning effort such as `low`, `medium` or `high`; the nearest one that the model has is used."""
    format: JsonFormat | None = None
    """The form of the answer: JSON that follows a schema. If it is left out, the answer is text."""


class CountRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The body of `POST /v1/messages/count_tokens`: the fields that make up the input of a message."""

    model: str
    """A name or an alias of `GET /v1/models`."""
    messages: Annotated[list[Turn], msgspec.Meta(min_length=1, max_length=MESSAGES_CEILING)]
    """The conversation so far, oldest turn first."""
    system: str | list[OnlyTextBlock] | None = None
    """The instructions (system prompt), as a text or as blocks of text."""
    tools: Annotated[list[OfferedTool], msgspec.Meta(max_length=TOOLS_CEILING)] | None = None
    """The tools that the model may call. Tools that Anthropic would run itself are left out."""
    tool_choice: Choices | None = None
    """A choice of tools: the model may (`auto`, the default), must (`any`, or `tool` for a certain one) or must not
    (`none`) call one.
    """
    thinking: Thinking | None = None
    """The thinking of the model: on or off, its token budget, and whether its thoughts are shown."""
    output_config: OutputConfig | None = None
    """The reasoning effort, and the form of the answer."""
    output_format: JsonFormat | None = None
    """The older place of `output_config.format`, which wins if both are given."""
    cache_control: EphemeralMark | None = None
    """A cache mark: the vendor's cache keeps the whole request."""


class MessagesRequest(CountRequest, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The body of `POST /v1/messages`. Unknown fields, and wishes that the model lacks, are left out and named in
    `x-ignored`.
    """

    max_tokens: Tokens
    """The most output tokens of the answer, thinking included. The limit is lowered to the model's maximum and to what
    the account can afford; `x-output-limit` says which limit applies.
    """
    stop_sequences: list[StopSequence] | None = None
    """Texts at which the answer ends. A model that takes no stop sequences, or fewer, refuses them."""
    stream: bool | None = None
    """True sends the answer as server-sent events. False by default."""
    temperature: Probability | None = None
    """The sampling temperature, passed on to the vendor. A model that takes none refuses any value but 1, its
    default.
    """
    top_p: Probability | None = None
    """The sampling bound `top_p`, passed on to the vendor. A model that takes none refuses any value but 1, its
    default.
    """
    top_k: TopK | None = None
    """The number of most likely tokens that are considered, for models that have the option (Claude, Gemini); others
    leave it out.
    """
    metadata: Metadata | None = None
    """A description of the application's user."""
    service_tier: str | None = None
    """The service tier. `flex` is slower, at the model's flex price; a model without one answers with a 400. `auto`,
    `standard_only` and `default` change nothing.
    """
    speed: str | None = None
    """Only `standard`, which changes nothing; any other value is left out and named in `x-ignored`."""
    models: list[str] | None = None
    """Fallback models, in order, for the case that `model` cannot be had; `x-model-served` names the model that
    answered.
    """
    thread: Any = None
    """Refused unless null: send the whole conversation in `messages`."""

    def __post_init__(self) -> None:
        """Raises `ValueError`, which msgspec reports as an error of the body."""
        refuse_depth(thread=self.thread)
