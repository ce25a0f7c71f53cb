"""A request in the form of the Gemini API: ai.google.dev/api/generate-content (v1beta, read 2026-11).

Small fields are given to the SDK; fields that may be large are put into the body without it (`wire/large_fields.py`).
"""

from __future__ import annotations

from typing import Any

from google.genai import types

from shared.catalogue.tool_limits import tool_limits
from shared.chat import Sampling, TextPart, Tool, ToolCall, ToolChoice, Tools
from shared.thoughts import Thought
from workers.providers.gemini.references import with_bare_references
from workers.providers.gemini.thinking import signatures_of, thinking_config, with_signatures
from workers.providers.protocol import ProviderRequest
from workers.providers.wire.conversation import CachePoint, Spoken, ToolResult, Turn, arguments, conversation, image

ROLES = {"user": "user", "assistant": "model"}
MODES = {
    "auto": types.FunctionCallingConfigMode.AUTO,
    "none": types.FunctionCallingConfigMode.NONE,
    "required": types.FunctionCallingConfigMode.ANY,
    "named": types.FunctionCallingConfigMode.ANY,
}
STAND_IN = "-"


def parameters(request: ProviderRequest) -> dict[str, Any]:
    """The parameters of the SDK's calls. The SDK leaves out None, and requires contents."""
    config = types.GenerateContentConfig(
        max_output_tokens=request.output_limit,
        **_sampling(request.sampling),
        thinking_config=thinking_config(request),
        tool_config=_tool_config(request.tools),
        service_tier=types.ServiceTier.FLEX if request.model.service_tier == "flex" else None,
        # both would make the SDK call the vendor again by itself
        automatic_function_calling=types.AutomaticFunctionCallingConfig(disable=True),
        automatic_continuation=False,
    )
    return {"model": request.model.vendor_model, "contents": STAND_IN, "config": config}


def large_fields(request: ProviderRequest) -> dict[str, Any]:
    """Fields of the body that bypass the SDK."""
    talk = conversation(request.messages)
    with_ids = tool_limits(request.model).ids_in_history
    contents = [
        {"role": ROLES[turn.role], "parts": _parts(parts, with_ids=with_ids)}
        for turn in talk.turns
        for parts in _apart(turn)
    ]
    answer, offered = request.sampling.json_answer, request.tools.offered
    return _given(
        contents=contents,
        systemInstruction={"parts": [{"text": talk.instructions}]} if talk.instructions else None,
        tools=[{"functionDeclarations": [_declaration(tool) for tool in offered]}] if offered else None,
        generationConfig={"responseJsonSchema": with_bare_references(answer.schema)}
        if answer and answer.schema
        else None,
    )


def _sampling(sampling: Sampling) -> dict[str, Any]:
    """The sampling options. A penalty of 0 is the default and left out, because newer models refuse it."""
    return {
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "top_k": sampling.top_k,
        "stop_sequences": list(sampling.stop) or None,
        "seed": sampling.seed,
        "frequency_penalty": sampling.frequency_penalty or None,
        "presence_penalty": sampling.presence_penalty or None,
        "response_mime_type": "application/json" if sampling.json_answer else None,
    }


def _tool_config(tools: Tools) -> types.ToolConfig | None:
    if not tools.offered or not tools.choice:
        return None
    return types.ToolConfig(function_calling_config=_calling(tools.choice))


def _declaration(tool: Tool) -> dict[str, Any]:
    schema = with_bare_references(tool.parameters) if tool.parameters else None
    return _given(name=tool.name, description=tool.description or None, parametersJsonSchema=schema)


def _calling(choice: ToolChoice) -> types.FunctionCallingConfig:
    only = [choice.name] if choice.mode == "named" and choice.name else None
    return types.FunctionCallingConfig(mode=MODES[choice.mode], allowed_function_names=only)


def _apart(turn: Turn) -> list[list[Spoken]]:
    """The contents of a turn: results in one of their own, then the rest. Parts beside results may be counted as
    superfluous results (github.com/google-gemini/gemini-cli/issues/16135, read 2026-11).
    """
    said = [part for part in with_signatures(turn.parts) if not isinstance(part, Thought | CachePoint)]
    results: list[Spoken] = [part for part in said if isinstance(part, ToolResult)]
    rest: list[Spoken] = [part for part in said if not isinstance(part, ToolResult)]
    return [parts for parts in (results, rest) if parts]


def _parts(parts: list[Spoken], *, with_ids: bool) -> list[dict[str, Any]]:
    signatures = signatures_of(parts, needed=with_ids)
    return [_part(part, signature, with_ids=with_ids) for part, signature in zip(parts, signatures, strict=True)]


def _part(part: Spoken, signature: bytes | None, *, with_ids: bool) -> dict[str, Any]:
    """A part. Before Gemini 3, calls and results have no ids, which some versions of the API refuse; name and order match
    them (github.com/AstrBotDevs/AstrBot/issues/7357, 2026-04).
    """
    match part:
        case ToolCall(id, name):
            called = _given(id=id if with_ids else None, name=name, args=arguments(part))
            return _given(functionCall=called, thoughtSignature=signature)
        case ToolResult(call, text):
            own = call.id if with_ids else None
            return {"functionResponse": _given(id=own, name=call.name, response=_response(text))}
        case TextPart(text):
            return {"text": text}
        case Thought() | CachePoint():
            raise TypeError("summaries of thoughts and marks for a cache are nothing that Gemini is told")
        case _:
            kind, data = image(part)
            return {"inlineData": {"mimeType": f"image/{kind}", "data": data}}


def _response(text: str) -> dict[str, Any]:
    """The result as the `output` of an object, which is the SDK's convention, and as text: inside objects Gemini interprets
    a `$ref` and refuses unknown ones, for example in a schema that a tool returns (github.com/vercel/ai/issues/14369, read
    2026-11).
    """
    return {"output": text}


def _given(**fields: object) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}
