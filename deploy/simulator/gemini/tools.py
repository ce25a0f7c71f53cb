"""Functions in the Gemini API: what is declared and asked for, and what is refused.

Sources: the Gemini API reference (v1beta), and the texts of its errors as users report them (2024-2026).
"""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Any, Literal

import msgspec

from deploy.simulator.exchange import Refusal
from deploy.simulator.gemini.schemas import check_json, check_own
from deploy.simulator.tools import AskedTools, Offer

DECLARATIONS_MAX = 512
_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_.:-]{0,63}")


class FunctionCall(msgspec.Struct, forbid_unknown_fields=True):
    """A call that the model made in an earlier answer; an `id` in a request is known from Gemini 3 on."""

    name: str
    args: dict[str, Any] = {}
    id: str | None = None


class FunctionResponse(msgspec.Struct, forbid_unknown_fields=True):
    """The result of a function."""

    name: str
    response: dict[str, Any]
    id: str | None = None


class Blob(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    """An image in base 64. Google reads fields in both spellings, and google-genai 3.4 writes this one in the other."""

    data: str
    mime_type: str = ""
    also_mime_type: str = msgspec.field(default="", name="mime_type")

    @property
    def kind(self) -> str:
        """The media type that the caller gives."""
        return self.mime_type or self.also_mime_type


class Part(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    """One part of a content."""

    text: str | None = None
    inline_data: Blob | None = None
    function_call: FunctionCall | None = None
    function_response: FunctionResponse | None = None
    thought: bool | None = None
    thought_signature: str | None = None


class Content(msgspec.Struct, forbid_unknown_fields=True):
    """One turn."""

    parts: list[Part] = []
    role: str = "user"


class Declaration(msgspec.Struct, rename="camel", omit_defaults=True, forbid_unknown_fields=True):
    """A function on offer. Google reads fields in both spellings, and google-genai 3.4 writes this one in the other."""

    name: str
    description: str = ""
    parameters_json_schema: dict[str, Any] | None = None
    also_json_schema: dict[str, Any] | None = msgspec.field(default=None, name="parameters_json_schema")
    parameters: dict[str, Any] | None = None

    @property
    def schema(self) -> dict[str, Any]:
        """The schema of the arguments."""
        return self.parameters_json_schema or self.also_json_schema or self.parameters or {}


class FunctionTool(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    """Functions on offer."""

    function_declarations: list[Declaration] = []


class CallingConfig(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    """The choice of functions: whether one must be called, and which."""

    mode: Literal["AUTO", "ANY", "NONE", "VALIDATED"] = "AUTO"
    allowed_function_names: list[str] = []


class ToolConfig(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    """The rules for using the functions on offer."""

    function_calling_config: CallingConfig = msgspec.field(default_factory=CallingConfig)


def text_of(content: Content) -> str:
    """Join the text parts."""
    return "".join(part.text or "" for part in content.parts)


def asked_of(
    contents: list[Content], tools: list[FunctionTool], config: ToolConfig | None, schema: dict[str, Any] | None
) -> AskedTools:
    """The functions and the choice in a request; `schema` is that of its answer."""
    calling = config.function_calling_config if config else CallingConfig()
    choices: dict[str, Literal["none", "required"]] = {"NONE": "none", "ANY": "required"}
    last = contents[-1] if contents else Content()
    results = [_response_text(part.function_response) for part in last.parts if part.function_response]
    return AskedTools(
        offers=tuple(Offer(d.name, d.schema) for d in declared(tools)),
        choice=choices.get(calling.mode, "auto"),
        only=calling.allowed_function_names[0] if calling.allowed_function_names else None,
        result=" ".join(results) if results and not text_of(last) else None,
        schema=schema,
    )


def texts_of(contents: list[Content], tools: list[FunctionTool]) -> list[str]:
    """List the texts that are prompt besides the text parts: declarations, calls and responses."""
    parts = [part for content in contents for part in content.parts]
    used = [part.function_call or part.function_response for part in parts]
    return [msgspec.json.encode(thing).decode() for thing in [*used, *declared(tools)] if thing]


def check_tools(contents: list[Content], tools: list[FunctionTool], config: ToolConfig | None) -> None:
    """Check functions, their calls and their responses against Gemini's rules; raises `Refusal`."""
    _checkdeclared(declared(tools))
    _check_config(declared(tools), config)
    for i, (before, after) in enumerate(pairwise([Content(role="model"), *contents])):
        _check_order(i, before, after)


def _checkdeclared(declared: list[Declaration]) -> None:
    if len(declared) > DECLARATIONS_MAX:
        raise _invalid(
            "The GenerateContentRequest proto is invalid:\n  * tools[0].function_declarations: [FIELD_INVALID] At most "
            f"{DECLARATIONS_MAX} function declarations can be specified."
        )
    names = [declaration.name for declaration in declared]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise _invalid(f"Duplicate function declaration found: {twice[0]}")
    for i, declaration in enumerate(declared):
        _check_schema(declaration, f"tools[0].function_declarations[{i}]")
        if not _NAME.fullmatch(declaration.name):
            raise _invalid(
                f"* GenerateContentRequest.tools[0].function_declarations[{i}].name: Invalid function name. Must start with "
                "a letter or an underscore. Must be alphameric (a-z, A-Z, 0-9), underscores (_), dots (.), colons (:), or "
                "dashes (-), with a maximum length of 64."
            )


def _check_schema(declaration: Declaration, where: str) -> None:
    own, as_json = declaration.parameters, declaration.parameters_json_schema or declaration.also_json_schema
    if own is not None and as_json is not None:
        raise _invalid(
            f"* GenerateContentRequest.{where}: parameters and parameters_json_schema are mutually exclusive."
        )
    if own is not None:
        check_own(own, f"{where}.parameters")
    if as_json is not None:
        check_json(as_json, f"{where}.parameters_json_schema", of_arguments=True)


def _check_config(declared: list[Declaration], config: ToolConfig | None) -> None:
    if config is None:
        return
    calling = config.function_calling_config
    if not declared:
        raise _invalid("Function calling config is set without function_declarations.")
    if calling.allowed_function_names and calling.mode not in {"ANY", "VALIDATED"}:
        raise _invalid("Function calling mode must be ANY where allowed_function_names is set.")
    if unknown := set(calling.allowed_function_names) - {declaration.name for declaration in declared}:
        raise _invalid(f"allowed_function_names has names that are not declared: {', '.join(sorted(unknown))}.")


def _check_order(i: int, before: Content, after: Content) -> None:
    calls = [part.function_call.name for part in before.parts if part.function_call]
    responses = [part.function_response.name for part in after.parts if part.function_response]
    if any(part.function_call for part in after.parts) and (after.role != "model" or before.role == "model"):
        raise _invalid(
            "Please ensure that function call turn comes immediately after a user turn or after a function response turn."
        )
    if responses and not calls:
        raise _invalid("Please ensure that function response turn comes immediately after a function call turn.")
    if len(calls) != len(responses):
        raise _invalid(
            "Please ensure that the number of function response parts is equal to the number of function call parts of "
            "the function call turn."
        )
    for part in after.parts:
        if part.function_response and (names := _referenced(part.function_response.response)):
            raise _invalid(
                f"The referenced name `{names[0]}` in function_response.response does not match to a display_name in the "
                "function_response.parts."
            )
    if calls != responses:
        raise _invalid(f"* GenerateContentRequest.contents[{i}].parts: function_response.name is not the call's.")


def _referenced(response: object) -> list[str]:
    """The targets of all `$ref`s at any depth (github.com/vercel/ai/issues/14369, read 2026-11)."""
    if isinstance(response, list):
        return [name for one in response for name in _referenced(one)]
    if not isinstance(response, dict):
        return []
    own = [response["$ref"]] if isinstance(response.get("$ref"), str) else []
    return own + [name for one in response.values() for name in _referenced(one)]


def declared(tools: list[FunctionTool]) -> list[Declaration]:
    """All functions on offer."""
    return [declaration for tool in tools for declaration in tool.function_declarations]


def _response_text(response: FunctionResponse) -> str:
    output = response.response.get("output", response.response)
    return output if isinstance(output, str) else msgspec.json.encode(output).decode()


def _invalid(message: str) -> Refusal:
    return Refusal(400, "INVALID_ARGUMENT", message)
