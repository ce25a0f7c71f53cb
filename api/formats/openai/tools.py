"""The tools of OpenAI's chat completions and the form of the answer: their types, and their conversion into the project's
own form.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from typing import Annotated, Any, Literal

import msgspec

from api.formats.cache_marks import CacheControl, MarkField, end_mark, fields_with_marks
from api.formats.openai.messages import TOOL_NAME, ToolName
from shared.chat import NO_TOOLS, TOOLS_CEILING, JsonAnswer, Tool, ToolChoice, Tools
from shared.errors import InvalidRequest
from shared.json_bounds import refuse_depth


class _Strict(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    pass


class FunctionDefinition(_Strict, frozen=True):
    """A function that the model may call."""

    name: str
    """The function's name: 1 to 128 letters, digits and any of `_.:/-`, unique among the tools."""
    description: str | None = None
    """A text that says what the function does; the model reads it."""
    parameters: dict[str, Any] | None = None
    """A JSON Schema of the arguments. Without one, the function has no arguments."""
    strict: bool | None = None
    """True makes the arguments follow the schema for sure, with OpenAI's models; other models leave the field out.
    False by default.
    """
    cache_control: CacheControl | None = None
    """A cache mark, with the same effect as one beside the function."""

    def __post_init__(self) -> None:
        """Raises `ValueError`, which msgspec reports as an error of the body."""
        refuse_depth(parameters=self.parameters)


class OfferedTool(_Strict, frozen=True):
    """A tool that the model may call, `{"type": "function", "function": {…}}`. Tools that a vendor runs itself
    (`web_search`, Kimi's `builtin_function`) are left out and named in `x-ignored`.
    """

    type: str | None = None
    """`function` for your own tools. Types that a vendor runs are left out; types that you would run and that are no
    functions are refused.
    """
    function: FunctionDefinition | None = None
    """The function; required for your own tools."""
    cache_control: CacheControl | None = None
    """A cache mark in Anthropic's form: the vendor's cache keeps everything up to this tool."""


class ChosenFunction(_Strict, frozen=True):
    """The name of a function in `tools`."""

    name: ToolName
    """The name of a function in `tools`."""


class NamedChoice(_Strict, frozen=True, tag="function", tag_field="type"):
    """The model must call the function `function.name`."""

    function: ChosenFunction
    """The function that must be called."""


class AllowedTool(_Strict, frozen=True):
    """One of the tools that may be called, `{"type": "function", "function": {"name"}}`."""

    type: Literal["function"]
    """Always `function`."""
    function: ChosenFunction
    """The function that may be called."""


class AllowedTools(_Strict, frozen=True):
    """The tools that may be called, and whether one of them must be."""

    mode: Literal["auto", "required"]
    """`auto` allows the model to call one of the tools, `required` makes it do so."""
    tools: Annotated[list[AllowedTool], msgspec.Meta(min_length=1, max_length=TOOLS_CEILING)]
    """The tools that may be called. The model is told of no others."""


class AllowedChoice(_Strict, frozen=True, tag="allowed_tools", tag_field="type"):
    """A choice of some tools, `{"type": "allowed_tools", "allowed_tools": {"mode", "tools"}}`."""

    allowed_tools: AllowedTools
    """The tools that may be called, and whether one of them must be."""


Choice = Literal["none", "auto", "required"] | NamedChoice | AllowedChoice


class AnyText(_Strict, frozen=True, tag="text", tag_field="type"):
    """A form of the answer: text, which is the default."""


class JsonObject(_Strict, frozen=True, tag="json_object", tag_field="type"):
    """A form of the answer: any JSON object, or one that follows a schema given here, as in other services."""

    value: dict[str, Any] | None = None
    """A JSON Schema that the answer follows, under the name that some other services give it."""
    schema: dict[str, Any] | None = None
    """A JSON Schema that the answer follows; `value` wins if both are given."""

    def __post_init__(self) -> None:
        """Raises `ValueError`, which msgspec reports as an error of the body."""
        refuse_depth(value=self.value, schema=self.schema)


class JsonSchema(_Strict, frozen=True):
    """A JSON Schema that the answer follows, with a name."""

    name: ToolName
    """A name for the schema: 1 to 128 letters, digits and any of `_.:/-`."""
    schema: dict[str, Any]
    """The JSON Schema; the keywords that it may contain depend on the model's vendor."""
    description: str | None = None
    """A text that says what the answer is for; the model reads it."""
    strict: bool | None = None
    """True makes the answer follow the schema for sure; it is passed on to vendors that have the option. False by
    default.
    """

    def __post_init__(self) -> None:
        """Raises `ValueError`, which msgspec reports as an error of the body."""
        refuse_depth(schema=self.schema)


class JsonOfSchema(_Strict, frozen=True, tag="json_schema", tag_field="type"):
    """A form of the answer: JSON that follows a schema, `{"type": "json_schema", "json_schema": {"name", "schema",
    "strict"}}`.
    """

    json_schema: JsonSchema
    """The schema with its name."""


ResponseFormat = AnyText | JsonObject | JsonOfSchema
CALLERS_OWN = {"custom", "local_shell", "shell", "apply_patch", "computer_use_preview"}
"""Types of tools that the caller runs and that are not functions (developers.openai.com/api/reference, read 2026-11)."""
OfferedTools = Annotated[list[OfferedTool], msgspec.Meta(max_length=TOOLS_CEILING)]


def is_hosted(kind: str | None) -> bool:
    """True if a vendor runs tools of this type itself; such a tool is left out completely."""
    return kind is not None and kind != "function" and kind not in CALLERS_OWN


def neutral_tools(
    offered: Sequence[OfferedTool], choice: Choice | None, *, parallel: bool | None
) -> tuple[Tools, list[str]]:
    """The tools in the project's own form, and the names of those that are left out because a vendor would run them, as
    `tools[].web_search`.

    Raises `InvalidRequest` for a name that occurs twice, or that is chosen and not offered.
    """
    functions = [(_function(place, tool), _mark_of(tool)) for place, tool in enumerate(offered)]
    left_out = [f"tools[].{tool.type[:100]}" for tool in offered if tool.type and is_hosted(tool.type)]
    tools = [(tool, mark) for tool, mark in functions if tool]
    names = [tool.name for tool, _ in tools]
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise InvalidRequest(f"`tools` has {min(twice)!r} twice: names are unique.", param="tools")
    chosen = _choice(choice, set(names))
    if isinstance(choice, AllowedChoice):
        allowed = {tool.function.name for tool in choice.allowed_tools.tools}
        tools = [(tool, mark) for tool, mark in tools if tool.name in allowed]
    if not tools:
        return NO_TOOLS, left_out
    marks = tuple(end_mark(count, mark) for count, (_, mark) in enumerate(tools, start=1) if mark and mark.is_known)
    own = tuple(tool for tool, _ in tools)
    return Tools(offered=own, choice=chosen, parallel=parallel, cache_marks=marks), left_out


def marks_in(offered: Sequence[OfferedTool]) -> Iterator[MarkField]:
    """The fields with cache marks."""
    yield from fields_with_marks("tools[]", offered)
    yield from fields_with_marks("tools[].function", (tool.function for tool in offered if tool.function))


def _mark_of(tool: OfferedTool) -> CacheControl | None:
    """The tool's cache mark; clients write it beside the function or in it."""
    return tool.cache_control or (tool.function.cache_control if tool.function else None)


def _function(place: int, tool: OfferedTool) -> Tool | None:
    """The tool; None for a tool that the vendor runs. Raises `InvalidRequest` for a tool that the caller runs and that
    is no function.
    """
    if tool.type in CALLERS_OWN:
        raise InvalidRequest(
            f"`tools[{place}].type` is {tool.type!r}: only tools of type `function` can be called here.", param="tools"
        )
    function = tool.function
    if tool.type not in {None, "function"} or (tool.type is None and function is None):
        return None  # a tool without a type is known by its fields, such as Gemini's `google_search`
    if function is None:
        raise InvalidRequest(f"`tools[{place}].function` is missing.", param="tools")
    if not re.match(TOOL_NAME, function.name):
        raise InvalidRequest(
            f"`tools[{place}].function.name` is no name of a tool: that has 1 to 128 letters, digits and any of `_.:/-`.",
            param="tools",
        )
    return Tool(
        name=function.name, description=function.description, parameters=function.parameters, strict=function.strict
    )


def _choice(choice: Choice | None, names: Collection[str]) -> ToolChoice | None:
    match choice:
        case NamedChoice(function):
            _require_offered([function.name], names)
            return ToolChoice("named", function.name)
        case AllowedChoice(allowed):
            _require_offered([tool.function.name for tool in allowed.tools], names)
            return ToolChoice(allowed.mode)
        case "required" if not names:
            raise InvalidRequest("`tool_choice` is `required`, and there are no `tools`.", param="tool_choice")
        case None:
            return None
        case _:
            return ToolChoice(choice)


def _require_offered(chosen: Sequence[str], names: Collection[str]) -> None:
    for name in chosen:
        if name not in names:
            raise InvalidRequest(f"`tool_choice` names {name!r}, which is not in `tools`.", param="tool_choice")


def neutral_json_answer(wanted: ResponseFormat | None) -> JsonAnswer | None:
    """The form of the answer in the project's own form; None for text."""
    match wanted:
        case JsonObject(value, schema):
            return JsonAnswer(schema=value or schema or None)
        case JsonOfSchema(schema):
            return JsonAnswer(
                name=schema.name, description=schema.description, schema=schema.schema, strict=schema.strict
            )
        case _:
            return None
