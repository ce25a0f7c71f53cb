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
    """1 to 128 letters, digits and any of `_.:/-`; unique among the tools."""
    description: str | None = None
    """What the function does; the model reads it."""
    parameters: dict[str, Any] | None = None
    """A JSON Schema of the arguments; left out, the function has none."""
    strict: bool | None = None
    """True: the arguments follow the schema for sure; done by OpenAI's models, left out by others."""
    cache_control: CacheControl | None = None
    """A cache mark, with the same effect as one beside the function."""

    def __post_init__(self) -> None:
        """Raises `ValueError`, which msgspec reports as an error of the body."""
        refuse_depth(parameters=self.parameters)


class OfferedTool(_Strict, frozen=True):
    """A tool on offer, `{"type": "function", "function": {…}}`. Tools that a vendor runs itself (`web_search`, Kimi's
    `builtin_function`) are left out and named.
    """

    type: str | None = None
    """`function` for your own tools; other types are tools that a vendor runs (left out) or that are no functions
    (refused).
    """
    function: FunctionDefinition | None = None
    """The function; required for your own tools."""
    cache_control: CacheControl | None = None
    """Marks everything up to this tool for the vendor's cache, in Anthropic's form."""


class ChosenFunction(_Strict, frozen=True):
    """A function of `tools`, by its name."""

    name: ToolName
    """The name of a function in `tools`."""


class NamedChoice(_Strict, frozen=True, tag="function", tag_field="type"):
    """The model must call this function."""

    function: ChosenFunction
    """The function that must be called."""


class AllowedTool(_Strict, frozen=True):
    """One of the tools that may be called, `{"type": "function", "function": {"name"}}`."""

    type: Literal["function"]
    """Always `function`."""
    function: ChosenFunction
    """The function that may be called."""


class AllowedTools(_Strict, frozen=True):
    """Only these of `tools` may be called; with `required`, one of them must."""

    mode: Literal["auto", "required"]
    """`auto`: the model may call one of them; `required`: it must."""
    tools: Annotated[list[AllowedTool], msgspec.Meta(min_length=1, max_length=TOOLS_CEILING)]
    """The tools that may be called; the model is told of no others."""


class AllowedChoice(_Strict, frozen=True, tag="allowed_tools", tag_field="type"):
    """The tools that may be called, `{"type": "allowed_tools", "allowed_tools": {"mode", "tools"}}`."""

    allowed_tools: AllowedTools
    """The tools that may be called, and whether one must be."""


Choice = Literal["none", "auto", "required"] | NamedChoice | AllowedChoice


class AnyText(_Strict, frozen=True, tag="text", tag_field="type"):
    """The answer is text; this is the default."""


class JsonObject(_Strict, frozen=True, tag="json_object", tag_field="type"):
    """The answer is any JSON object, or one that follows a schema given here as other services do."""

    value: dict[str, Any] | None = None
    """A JSON Schema that the answer follows, as some other services name it."""
    schema: dict[str, Any] | None = None
    """A JSON Schema that the answer follows; `value` wins where both are given."""

    def __post_init__(self) -> None:
        """Raises `ValueError`, which msgspec reports as an error of the body."""
        refuse_depth(value=self.value, schema=self.schema)


class JsonSchema(_Strict, frozen=True):
    """The JSON Schema that the answer follows."""

    name: ToolName
    """A name for the schema: 1 to 128 letters, digits and any of `_.:/-`."""
    schema: dict[str, Any]
    """The JSON Schema; what it may contain depends on the model's vendor."""
    description: str | None = None
    """What the answer is for; the model reads it."""
    strict: bool | None = None
    """True: the answer follows the schema for sure; passed on to vendors that know it."""

    def __post_init__(self) -> None:
        """Raises `ValueError`, which msgspec reports as an error of the body."""
        refuse_depth(schema=self.schema)


class JsonOfSchema(_Strict, frozen=True, tag="json_schema", tag_field="type"):
    """The answer is JSON that follows a schema, `{"type": "json_schema", "json_schema": {"name", "schema", "strict"}}`."""

    json_schema: JsonSchema
    """The schema with its name."""


ResponseFormat = AnyText | JsonObject | JsonOfSchema
CALLERS_OWN = {"custom", "local_shell", "shell", "apply_patch", "computer_use_preview"}
"""Types of tools that the caller runs and that are not functions (developers.openai.com/api/reference, read 2026-11)."""
OfferedTools = Annotated[list[OfferedTool], msgspec.Meta(max_length=TOOLS_CEILING)]


def is_hosted(kind: str | None) -> bool:
    """Whether a vendor runs tools of this type itself; such a tool is left out completely."""
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
    """The tool; None for one that the vendor runs. Raises `InvalidRequest` for one that the caller runs in another form."""
    if tool.type in CALLERS_OWN:
        raise InvalidRequest(
            f"`tools[{place}].type` is {tool.type!r}: only tools of type `function` can be called here.", param="tools"
        )
    function = tool.function
    if tool.type not in {None, "function"} or (tool.type is None and function is None):
        return None  # a tool without a type is known by its fields, as Gemini's `google_search`
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
