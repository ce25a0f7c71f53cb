"""The tools of the Responses API: their types, and their conversion into the project's own form.

Models here know only functions. So custom tools are offered as functions with one text argument, tools of a namespace
under their own names, and tools that OpenAI's models know (`local_shell`, `shell`, `apply_patch`) with a schema.
`Offer.kinds` says how calls of each tool are written.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal

import msgspec

from api.formats.openai.messages import ToolName
from api.formats.responses.known_tools import KNOWN_TOOLS
from api.formats.responses.parts import Strict
from shared.chat import NO_TOOLS, TOOLS_CEILING, Tool, ToolChoice, Tools
from shared.errors import InvalidRequest
from shared.json_bounds import refuse_depth

CallType = Literal["function", "custom", "local_shell", "shell", "apply_patch"]
REFUSED = {"computer", "computer_use", "computer_use_preview"}
"""Types of tools that the caller runs and that cannot be offered as functions."""
OWN = {"function", "custom", "namespace", *KNOWN_TOOLS, *REFUSED}
INPUT = "input"
"""The only argument of a custom tool."""


class GrammarFormat(Strict, frozen=True, kw_only=True):
    """The form of a custom tool's input: any text, or text that follows a grammar. The model is told the grammar, but
    nothing enforces it.
    """

    type: str
    """`text` for any text, or `grammar`."""
    syntax: str | None = None
    """The language of the grammar, `lark` or `regex`; only with `grammar`."""
    definition: str | None = None
    """The grammar; it is added to the description that the model reads."""


class SpacedTool(Strict, frozen=True, kw_only=True):
    """A tool of a namespace, of type `function` or `custom`."""

    type: str
    """`function` or `custom`; other types are left out."""
    name: ToolName
    """The tool's name: 1 to 128 letters, digits and any of `_.:/-`, unique within the namespace."""
    description: str | None = None
    """A text that says what the tool does; the model reads it."""
    parameters: dict[str, Any] | None = None
    """A JSON Schema of a function's arguments. Without one, the function has no arguments."""
    strict: bool | None = None
    """True makes the arguments follow the schema for sure, with OpenAI's models; other models leave the field out.
    False by default.
    """
    format: GrammarFormat | None = None
    """The form of a custom tool's input."""

    def __post_init__(self) -> None:
        """Raises `ValueError`, which msgspec reports as an error of the body."""
        refuse_depth(parameters=self.parameters)


class OfferedResponseTool(Strict, frozen=True, kw_only=True):
    """A tool that the model may call. Tools that a vendor runs itself (`web_search`) are left out and named in
    `x-ignored`.
    """

    type: str
    """`function`, `custom`, `namespace`, `local_shell`, `shell` or `apply_patch`. Tools for a computer are refused;
    tools of any other type are left out.
    """
    name: ToolName | None = None
    """The tool's name: 1 to 128 letters, digits and any of `_.:/-`. Required for `function`, `custom` and
    `namespace`.
    """
    description: str | None = None
    """A text that says what the tool does; the model reads it."""
    parameters: dict[str, Any] | None = None
    """A JSON Schema of a function's arguments. Without one, the function has no arguments."""
    strict: bool | None = None
    """True makes the arguments follow the schema for sure, with OpenAI's models; other models leave the field out.
    False by default.
    """
    format: GrammarFormat | None = None
    """The form of a custom tool's input."""
    environment: Any = None
    """The place where a `shell` runs. `{"type": "local"}`, the default, is your own machine; a shell that a vendor
    would run is left out.
    """
    tools: Annotated[list[SpacedTool], msgspec.Meta(max_length=TOOLS_CEILING)] | None = None
    """The tools of a `namespace`."""

    def __post_init__(self) -> None:
        """Raises `ValueError`, which msgspec reports as an error of the body."""
        refuse_depth(parameters=self.parameters, environment=self.environment)

    @property
    def is_hosted(self) -> bool:
        """True if a vendor runs the tool, including a shell that is not the caller's own."""
        place = self.environment.get("type") if isinstance(self.environment, dict) else None
        return is_left_out(self.type) or (self.type == "shell" and place not in {None, "local"})


class AllowedResponseTool(Strict, frozen=True, kw_only=True):
    """A tool that may be called, `{"type": "function", "name"}`."""

    type: str
    """The type of the tool."""
    name: str | None = None
    """The tool's name; required for `function` and `custom`."""
    namespace: str | None = None
    """The namespace of the tool, needed if several tools have this name."""
    server_label: str | None = None
    """Accepted and without effect: tools of MCP servers are not available here."""


class ChosenTool(Strict, frozen=True, kw_only=True):
    """A tool that must be called, `{"type": "function", "name"}`, `{"type": "custom", "name"}` or `{"type": "shell"}`;
    or the tools that may be called, `{"type": "allowed_tools", "mode", "tools"}`.
    """

    type: str
    """The type of the tool that must be called, or `allowed_tools`."""
    name: str | None = None
    """The tool's name; required for `function` and `custom`."""
    namespace: str | None = None
    """The namespace of the tool, needed if several tools have this name."""
    server_label: str | None = None
    """Accepted and without effect: tools of MCP servers are not available here."""
    mode: Literal["auto", "required"] | None = None
    """Only with `allowed_tools`: `auto` (the default) allows the model to call one of the tools, `required` makes it do
    so.
    """
    tools: Annotated[list[AllowedResponseTool], msgspec.Meta(min_length=1, max_length=TOOLS_CEILING)] | None = None
    """Only with `allowed_tools`: the tools that may be called. The model is told of no others."""


ResponseChoice = Literal["none", "auto", "required"] | ChosenTool


class Kind(msgspec.Struct, frozen=True, omit_defaults=True):
    """The form in which calls of a tool are written: type, name and namespace."""

    type: CallType
    name: str
    namespace: str | None = None


class Offer(msgspec.Struct, frozen=True, kw_only=True):
    """The tools that the model is offered. `kinds` has, by their name in `tools`, the tools that are not plain
    functions; `spaced` has the names in `tools` by name and namespace. `left_out` names the types that are left out,
    such as `tools[].web_search`; `shown` is the list that the answer repeats.
    """

    tools: Tools = NO_TOOLS
    kinds: Mapping[str, Kind] = {}
    spaced: Mapping[tuple[str, str | None], str] = {}
    left_out: Sequence[str] = ()
    shown: Sequence[OfferedResponseTool] = ()

    def name_of(self, name: str, namespace: str | None) -> str:
        """The name by which the model knows the tool that a client calls `name`."""
        return self.spaced.get((name, namespace), name)


class _Entry(msgspec.Struct, frozen=True):
    """One tool, and the form in which its calls are written."""

    tool: Tool
    kind: Kind


def is_left_out(kind: str | None) -> bool:
    """True if a vendor runs tools of this type itself; such a tool is left out completely."""
    return kind is not None and kind not in OWN


def offer_of(offered: Sequence[OfferedResponseTool], choice: ResponseChoice | None, *, parallel: bool | None) -> Offer:
    """Convert the tools. Raises `InvalidRequest` for a tool that cannot be offered, a name that occurs twice, or a choice
    of a tool that is not offered.
    """
    own = [(place, tool) for place, tool in enumerate(offered) if not tool.is_hosted]
    entries = list(_named_apart([entry for place, tool in own for entry in _entries(place, tool)]))
    left_out = [f"tools[].{tool.type[:100]}" for tool in offered if tool.is_hosted]
    chosen, allowed = _choice(choice, entries)
    tools = tuple(entry.tool for entry in entries if allowed is None or entry.tool.name in allowed)
    kinds = {entry.tool.name: entry.kind for entry in entries if entry.kind != Kind("function", entry.tool.name)}
    return Offer(
        tools=Tools(offered=tools, choice=chosen, parallel=parallel) if tools else NO_TOOLS,
        kinds=kinds,
        spaced={(kind.name, kind.namespace): name for name, kind in kinds.items() if kind.namespace is not None},
        left_out=left_out,
        shown=[tool for _, tool in own],
    )


def _entries(place: int, tool: OfferedResponseTool) -> Iterator[_Entry]:
    if tool.type in REFUSED:
        raise InvalidRequest(f"`tools[{place}].type` is {tool.type!r}: no model here takes such tools.", param="tools")
    if tool.type in KNOWN_TOOLS:
        yield _Entry(KNOWN_TOOLS[tool.type], Kind(tool.type, tool.type))  # type: ignore[arg-type] # one of them
    elif tool.type == "namespace":
        space = _require_name(place, tool)
        for inside in tool.tools or ():
            if inside.type in {"function", "custom"}:
                yield _Entry(_tool(inside, inside.name), Kind(inside.type, inside.name, space))  # type: ignore[arg-type]
    elif tool.type in {"function", "custom"}:
        name = _require_name(place, tool)
        yield _Entry(_tool(tool, name), Kind(tool.type, name))  # type: ignore[arg-type]


def _require_name(place: int, tool: OfferedResponseTool) -> str:
    if tool.name is None:
        raise InvalidRequest(f"`tools[{place}].name` is missing.", param="tools")
    return tool.name


def _tool(tool: OfferedResponseTool | SpacedTool, name: str) -> Tool:
    if tool.type == "function":
        return Tool(name=name, description=tool.description, parameters=tool.parameters, strict=tool.strict)
    text = {"type": "string", "description": "The whole input of the tool, as plain text."}
    schema = {"type": "object", "properties": {INPUT: text}, "required": [INPUT], "additionalProperties": False}
    return Tool(name=name, description=_described(tool), parameters=schema)


def _described(tool: OfferedResponseTool | SpacedTool) -> str | None:
    """The description of the tool, with its grammar: a model that cannot be held to the grammar is told of it."""
    wanted = tool.format
    if wanted is None or not wanted.definition:
        return tool.description
    rule = f"`{INPUT}` must follow this {wanted.syntax or ''} grammar:\n{wanted.definition}"
    return f"{tool.description}\n\n{rule}" if tool.description else rule


def _named_apart(entries: Sequence[_Entry]) -> Iterable[_Entry]:
    """Prefix tools of the same name with their namespaces."""
    times = Counter(entry.tool.name for entry in entries)
    seen: set[str] = set()
    for entry in entries:
        name, space = entry.tool.name, entry.kind.namespace
        if space is not None and times[name] > 1:
            name = f"{space}__{name}"
        if name in seen:
            raise InvalidRequest(f"`tools` has {name!r} twice: names are unique.", param="tools")
        seen.add(name)
        yield _Entry(msgspec.structs.replace(entry.tool, name=name), entry.kind)


def _choice(choice: ResponseChoice | None, entries: Sequence[_Entry]) -> tuple[ToolChoice | None, set[str] | None]:
    """The choice, and the names of the allowed tools; None if all are allowed."""
    match choice:
        case None:
            return None, None
        case ChosenTool(type="allowed_tools"):
            names = _by_choice(entries)
            return ToolChoice(choice.mode or "auto"), {_chosen(one, names) for one in choice.tools or ()}
        case ChosenTool():
            return ToolChoice("named", _chosen(choice, _by_choice(entries))), None
        case "required" if not entries:
            raise InvalidRequest("`tool_choice` is `required`, and there are no `tools`.", param="tool_choice")
        case _:
            return ToolChoice(choice), None


def _by_choice(entries: Sequence[_Entry]) -> dict[tuple[str, str, str | None], str]:
    """The names by which the model knows the tools, by type, name and namespace of a choice. A choice may leave out the
    namespace.
    """
    names: dict[tuple[str, str, str | None], str] = {}
    for entry in entries:
        kind = entry.kind
        for namespace in {None, kind.namespace}:
            names.setdefault((kind.type, kind.name, namespace), entry.tool.name)
    return names


def _chosen(choice: ChosenTool | AllowedResponseTool, names: Mapping[tuple[str, str, str | None], str]) -> str:
    """The name by which the model knows the chosen tool."""
    name = choice.type if choice.type in KNOWN_TOOLS else choice.name or ""
    found = names.get((choice.type, name, choice.namespace))
    if found is None:
        what = repr((choice.name or choice.type)[:100])
        raise InvalidRequest(
            f"`tool_choice` names {what}, which is not in `tools`, or not offered here.", param="tool_choice"
        )
    return found
