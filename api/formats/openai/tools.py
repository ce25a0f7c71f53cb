"""The tools of OpenAI's chat completions and the form of the answer, strictly typed, and in the project's own words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

import msgspec

from api.formats.openai.messages import ToolName
from shared.chat import NO_TOOLS, JsonAnswer, Tool, ToolChoice, Tools
from shared.errors import InvalidRequest


class _Strict(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    pass


class FunctionDefinition(_Strict, frozen=True):
    """`parameters` is a JSON Schema."""

    name: ToolName
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class OfferedTool(_Strict, frozen=True):
    """`{"type": "function", "function": {…}}`."""

    type: Literal["function"]
    function: FunctionDefinition


class ChosenFunction(_Strict, frozen=True):
    """Only its name."""

    name: ToolName


class NamedChoice(_Strict, frozen=True):
    """The model must ask for this one."""

    type: Literal["function"]
    function: ChosenFunction


Choice = Literal["none", "auto", "required"] | NamedChoice


class AnyText(_Strict, frozen=True, tag="text", tag_field="type"):
    """The default."""


class JsonObject(_Strict, frozen=True, tag="json_object", tag_field="type"):
    """Some JSON object."""


class JsonSchema(_Strict, frozen=True):
    """JSON that follows `schema`."""

    name: ToolName
    schema: dict[str, Any]
    description: str | None = None
    strict: bool | None = None


class JsonOfSchema(_Strict, frozen=True, tag="json_schema", tag_field="type"):
    """`{"type": "json_schema", "json_schema": {"name", "schema", "strict"}}`."""

    json_schema: JsonSchema


ResponseFormat = AnyText | JsonObject | JsonOfSchema
OfferedTools = Annotated[list[OfferedTool], msgspec.Meta(max_length=4096)]


def neutral_tools(offered: Sequence[OfferedTool], choice: Choice | None, *, parallel: bool | None) -> Tools:
    """In the project's own words. Raises `InvalidRequest` for a name that is there twice, or chosen and not offered."""
    names = [tool.function.name for tool in offered]
    twice = {name for name in names if names.count(name) > 1} if len(set(names)) < len(names) else set()
    if twice:
        raise InvalidRequest(f"`tools` has {min(twice)!r} twice: names are unique.", param="tools")
    chosen = _choice(choice, names)
    if not offered:
        return NO_TOOLS
    tools = tuple(
        Tool(
            name=tool.function.name,
            description=tool.function.description,
            parameters=tool.function.parameters,
            strict=tool.function.strict,
        )
        for tool in offered
    )
    return Tools(offered=tools, choice=chosen, parallel=parallel)


def _choice(choice: Choice | None, names: Sequence[str]) -> ToolChoice | None:
    if isinstance(choice, NamedChoice):
        name = choice.function.name
        if name not in names:
            raise InvalidRequest(f"`tool_choice` names {name!r}, which is not in `tools`.", param="tool_choice")
        return ToolChoice("named", name)
    if choice == "required" and not names:
        raise InvalidRequest("`tool_choice` is `required`, and there are no `tools`.", param="tool_choice")
    return None if choice is None else ToolChoice(choice)


def neutral_json_answer(wanted: ResponseFormat | None) -> JsonAnswer | None:
    """In the project's own words; None for text."""
    match wanted:
        case JsonObject():
            return JsonAnswer()
        case JsonOfSchema(schema):
            return JsonAnswer(
                name=schema.name, description=schema.description, schema=schema.schema, strict=schema.strict
            )
        case _:
            return None
