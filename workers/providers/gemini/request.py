"""A request in the words of the Gemini API: ai.google.dev/api/generate-content (v1beta, read 2026-11)."""

from __future__ import annotations

from typing import Any

from google.genai import types

from shared.catalogue.tool_limits import tool_limits
from shared.chat import JsonAnswer, Sampling, TextPart, Tool, ToolCall, ToolChoice, Tools
from shared.thoughts import Thought
from workers.providers.gemini.references import with_bare_references
from workers.providers.gemini.thinking import signatures_of, thinking_config
from workers.providers.protocol import ProviderRequest
from workers.providers.wire.conversation import Spoken, ToolResult, Turn, arguments, conversation, image

ROLES = {"user": "user", "assistant": "model"}
MODES = {
    "auto": types.FunctionCallingConfigMode.AUTO,
    "none": types.FunctionCallingConfigMode.NONE,
    "required": types.FunctionCallingConfigMode.ANY,
    "named": types.FunctionCallingConfigMode.ANY,
}


def parameters(request: ProviderRequest) -> dict[str, Any]:
    """The parameters of the SDK's calls; the SDK leaves out what is None."""
    talk = conversation(request.messages)
    config = types.GenerateContentConfig(
        system_instruction=talk.instructions or None,
        max_output_tokens=request.output_limit,
        **_sampling(request.sampling),
        thinking_config=thinking_config(request),
        **(_tools(request.tools) if request.tools.offered else {}),
        # both would call the vendor again on their own
        automatic_function_calling=types.AutomaticFunctionCallingConfig(disable=True),
        automatic_continuation=False,
    )
    with_ids = tool_limits(request.model).ids_in_history
    contents = [
        types.Content(role=ROLES[turn.role], parts=_parts(parts, with_ids=with_ids))
        for turn in talk.turns
        for parts in _apart(turn)
    ]
    return {"model": request.model.upstream, "contents": contents, "config": config}


def _sampling(sampling: Sampling) -> dict[str, Any]:
    """A penalty of 0 is the default, and newer models refuse the very word."""
    return {
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "top_k": sampling.top_k,
        "stop_sequences": list(sampling.stop) or None,
        "seed": sampling.seed,
        "frequency_penalty": sampling.frequency_penalty or None,
        "presence_penalty": sampling.presence_penalty or None,
        **(_json(sampling.json_answer) if sampling.json_answer else {}),
    }


def _json(answer: JsonAnswer) -> dict[str, Any]:
    schema = with_bare_references(answer.schema) if answer.schema else None
    return {"response_mime_type": "application/json", "response_json_schema": schema}


def _tools(tools: Tools) -> dict[str, Any]:
    declared = [_declaration(tool) for tool in tools.offered]
    config = types.ToolConfig(function_calling_config=_calling(tools.choice)) if tools.choice else None
    return {"tools": [types.Tool(function_declarations=declared)], "tool_config": config}


def _declaration(tool: Tool) -> types.FunctionDeclaration:
    schema = with_bare_references(tool.parameters) if tool.parameters else None
    return types.FunctionDeclaration(
        name=tool.name, description=tool.description or None, parameters_json_schema=schema
    )


def _calling(choice: ToolChoice) -> types.FunctionCallingConfig:
    only = [choice.name] if choice.mode == "named" and choice.name else None
    return types.FunctionCallingConfig(mode=MODES[choice.mode], allowed_function_names=only)


def _apart(turn: Turn) -> list[list[Spoken]]:
    """Results in a content of their own, then the rest: parts beside results may be counted as results that are too many
    (github.com/google-gemini/gemini-cli/issues/16135, read 2026-11).
    """
    said = [part for part in turn.parts if not isinstance(part, Thought)]
    results: list[Spoken] = [part for part in said if isinstance(part, ToolResult)]
    rest: list[Spoken] = [part for part in said if not isinstance(part, ToolResult)]
    return [parts for parts in (results, rest) if parts]


def _parts(parts: list[Spoken], *, with_ids: bool) -> list[types.Part]:
    signatures = signatures_of(parts, needed=with_ids)
    return [_part(part, signature, with_ids=with_ids) for part, signature in zip(parts, signatures, strict=True)]


def _part(part: Spoken, signature: bytes | None, *, with_ids: bool) -> types.Part:
    """Before Gemini 3 calls and results go without ids, which some versions of the API refuse in a request; name and order
    tell them apart (github.com/AstrBotDevs/AstrBot/issues/7357, 2026-04).
    """
    match part:
        case ToolCall(id, name):
            called = types.FunctionCall(id=id if with_ids else None, name=name, args=arguments(part))
            return types.Part(function_call=called, thought_signature=signature)
        case ToolResult(call, text):
            own = call.id if with_ids else None
            said = types.FunctionResponse(id=own, name=call.name, response=_response(text))
            return types.Part(function_response=said)
        case TextPart(text):
            return types.Part(text=text)
        case Thought():
            raise TypeError("a summary of a thought is nothing that Gemini is told")
        case _:
            kind, data = image(part)
            return types.Part(inline_data=types.Blob(mime_type=f"image/{kind}", data=data))


def _response(text: str) -> dict[str, Any]:
    """As the `output` of an object, which is the SDK's word for it, and as text: within objects Gemini takes a `$ref` for its
    own and refuses what it does not find, as in a schema that a tool returns (github.com/vercel/ai/issues/14369, read
    2026-11).
    """
    return {"output": text}
