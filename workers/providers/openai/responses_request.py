"""A request in the form of OpenAI's Responses API: platform.openai.com/docs/api-reference/responses/create (read 2026-11).

Nothing is stored at the vendor: thoughts come back encrypted, and callers send them again.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from shared.catalogue.models import Model
from shared.catalogue.thinking import thinks
from shared.catalogue.vendor_limits import vendor_limits
from shared.chat import ImagePart, JsonAnswer, Message, TextPart, Tool, ToolCall, ToolChoice, Tools
from shared.schemas import object_schema
from shared.thoughts import Thought, in_order
from workers.providers.openai.request import caching, with_breakpoints
from workers.providers.protocol import ProviderRequest

ENCRYPTED = "reasoning.encrypted_content"
Item = dict[str, Any]


def parameters(request: ProviderRequest) -> dict[str, Any]:
    """The parameters of the SDK's `responses.create`; options that are not asked for are left out."""
    model, sampling = request.model, request.sampling
    given = {
        "model": model.vendor_model,
        "input": [item for message in request.messages for item in _items(message, model)],
        "stream": request.stream,
        "store": False,
        "include": [ENCRYPTED] if model.reasoning and sampling.signs_thoughts else None,
        "max_output_tokens": request.output_limit,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "service_tier": None if model.service_tier == "default" else model.service_tier,
        "user": sampling.user,
        "text": {"format": _format(sampling.json_answer)} if sampling.json_answer else None,
        "reasoning": _reasoning(request),
        **caching(request),
        **(_tools(request.tools) if request.tools.offered else {}),
    }
    return {name: value for name, value in given.items() if value is not None}


def _reasoning(request: ProviderRequest) -> dict[str, Any] | None:
    """The reasoning options. A summary is asked for only if the caller gets it, because OpenAI requires a verified operator
    for summaries ("Your organization must be verified to generate reasoning summaries",
    github.com/continuedev/continue/pull/12047, read 2026-11).
    """
    effort = request.sampling.reasoning_effort or request.model.thinking
    shows = request.sampling.shows_thoughts and thinks(request.model, request.sampling.reasoning_effort)
    told = {"effort": effort, "summary": "auto" if shows else None}
    return {name: value for name, value in told.items() if value} or None


def _format(answer: JsonAnswer) -> dict[str, Any]:
    if answer.schema is None:
        return {"type": "json_object"}
    described = {"description": answer.description} if answer.description else {}
    schema = object_schema(answer.schema)
    return {"type": "json_schema", "name": answer.name, **described, "schema": schema, "strict": bool(answer.strict)}


def _tools(tools: Tools) -> dict[str, Any]:
    return {
        "tools": [_tool(tool) for tool in tools.offered],
        "tool_choice": _choice(tools.choice) if tools.choice else None,
        "parallel_tool_calls": tools.parallel,
    }


def _tool(tool: Tool) -> dict[str, Any]:
    """A tool. `strict` is always sent: without it, Responses makes schemas strict where possible, so that every property
    becomes required (developers.openai.com/api/docs/guides/function-calling, read 2026-11).
    """
    described = {"description": tool.description} if tool.description else {}
    parameters = tool.parameters or {"type": "object", "properties": {}}
    return {"type": "function", "name": tool.name, **described, "parameters": parameters, "strict": bool(tool.strict)}


def _choice(choice: ToolChoice) -> str | dict[str, Any]:
    return {"type": "function", "name": choice.name} if choice.mode == "named" else choice.mode


def _items(message: Message, model: Model) -> Iterator[Item]:
    """The items of a message: the message itself, or the blocks of an answer in the order in which the model made them."""
    if message.role == "tool":
        yield {"type": "function_call_output", "call_id": message.tool_call_id, "output": _content(message, model)}
    elif message.role == "assistant":
        yield from _answer(message, model)
    else:
        yield {"role": message.role, "content": _content(message, model)}


def _answer(message: Message, model: Model) -> Iterator[Item]:
    """The items of an answer, without empty texts and without thoughts that led to nothing: "Item 'rs_…' of type
    'reasoning' was provided without its required following item" (github.com/continuedev/continue/issues/8933, read
    2026-11).
    """
    thoughts: list[Item] = []
    for block in in_order(message.text(), message.tool_calls, message.thoughts):
        if isinstance(block, Thought):
            thoughts.append({"type": "reasoning", "summary": [], "encrypted_content": block.signature})
        elif isinstance(block, ToolCall) or block.strip():
            yield from thoughts
            thoughts.clear()
            yield _call(block) if isinstance(block, ToolCall) else _said(block, message, model)


def _said(text: str, message: Message, model: Model) -> Item:
    """A text of the assistant. OpenAI's models set `phase` themselves: a remark before calls, or the answer."""
    phase = {} if model.base_url else {"phase": "commentary" if message.tool_calls else "final_answer"}
    return {"role": "assistant", "content": text, **phase}


def _call(call: ToolCall) -> Item:
    arguments = call.arguments if call.arguments.strip() else "{}"
    return {"type": "function_call", "call_id": call.id, "name": call.name, "arguments": arguments}


def _content(message: Message, model: Model) -> str | list[Item]:
    """The content; parts are used only if there is an image or a mark, because an empty list is refused."""
    marked = bool(message.cache_marks and model.cache_marks and message.text().strip())
    if not marked and not message.images():
        return message.text()
    given = [TextPart(message.content)] if isinstance(message.content, str) else message.content
    detail = vendor_limits(model).image_detail or "auto"
    parts: list[Item] = [
        {"type": "input_image", "image_url": part.image_url.url, "detail": detail}
        if isinstance(part, ImagePart)
        else {"type": "input_text", "text": part.text}
        for part in given
    ]
    return with_breakpoints(parts, message) if model.cache_marks else parts
