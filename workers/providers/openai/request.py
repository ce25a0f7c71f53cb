"""A request in the form of OpenAI's chat completions: platform.openai.com/docs/api-reference/chat (read 2026-11)."""

from __future__ import annotations

from typing import Any

from shared.catalogue.caching import is_explicit
from shared.catalogue.models import Model
from shared.catalogue.thinking import thinks
from shared.catalogue.vendor_limits import vendor_limits
from shared.chat import ImagePart, JsonAnswer, Message, Sampling, TextPart, Tool, ToolCall, ToolChoice, Tools
from shared.schemas import object_schema
from workers.providers.protocol import ProviderRequest
from workers.providers.wire.turns import in_turn

UNKNOWN_TO_DEEPSEEK = {"user"}
"""Parameters that DeepSeek's reference lacks (api-docs.deepseek.com/api/create-chat-completion, read 2026-11)."""


def parameters(request: ProviderRequest) -> dict[str, Any]:
    """The body of the request as a JSON object; options that are not asked for are left out."""
    given = {
        "model": request.model.vendor_model,
        "messages": [_message(message, request) for message in _talk(request)],
        "stream": request.stream,
        "stream_options": {"include_usage": True} if request.stream else None,
        request.model.limit_parameter: request.output_limit,
        "service_tier": None if request.model.service_tier == "default" else request.model.service_tier,
        **_sampling(request.sampling),
        **_thinking(request),
        **caching(request),
        **(_tools(request.tools, request.model) if request.tools.offered else {}),
    }
    unknown = UNKNOWN_TO_DEEPSEEK if request.model.api == "deepseek-chat" else set()
    return {name: value for name, value in given.items() if value is not None and name not in unknown}


def _talk(request: ProviderRequest) -> list[Message]:
    """The conversation. DeepSeek's thinking model requires alternating turns: "deepseek-reasoner does not support
    successive user or assistant messages" (github.com/deepseek-ai/DeepSeek-R1/issues/21,
    github.com/Aider-AI/aider/issues/2960; read 2026-11).
    """
    return in_turn(request.messages) if _deepseek_thinks(request) else request.messages


def _sampling(sampling: Sampling) -> dict[str, Any]:
    """The sampling options. A penalty of 0 is the default and left out, because o-series models refuse it."""
    return {
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "stop": list(sampling.stop) or None,
        "seed": sampling.seed,
        "frequency_penalty": sampling.frequency_penalty or None,
        "presence_penalty": sampling.presence_penalty or None,
        "response_format": _response_format(sampling.json_answer) if sampling.json_answer else None,
        "user": sampling.user,
    }


def _thinking(request: ProviderRequest) -> dict[str, Any]:
    """The reasoning effort. DeepSeek also has a switch (api-docs.deepseek.com/guides/thinking_mode, read 2026-11)."""
    model, effort = request.model, request.sampling.reasoning_effort
    if model.api != "deepseek-chat":
        return {"reasoning_effort": effort or model.thinking}
    if not model.reasoning_efforts:
        return {}
    if not _deepseek_thinks(request):
        return {"thinking": {"type": "disabled"}}
    return {"thinking": {"type": "enabled"}, "reasoning_effort": effort}


def _deepseek_thinks(request: ProviderRequest) -> bool:
    """True if the model thinks. A model that must call a tool cannot think in this turn; a model that always thinks is
    never forced to call one.
    """
    model = request.model
    unforced = not (request.tools.must_be_called() and model.reasoning_efforts)
    return model.api == "deepseek-chat" and unforced and thinks(model, request.sampling.reasoning_effort)


def caching(request: ProviderRequest) -> dict[str, Any]:
    """OpenAI's cache options besides marks, in the form of both of its APIs (openai-python 3.54, read 2026-11). The key
    belongs to the account alone (`workers/request/own_names.py`).
    """
    told = request.sampling.caching
    return {
        "prompt_cache_key": told.key,
        "prompt_cache_options": {"mode": "explicit"} if is_explicit(request.model, request.sampling) else None,
        "prompt_cache_retention": told.retention,
    }


def _response_format(answer: JsonAnswer) -> dict[str, Any]:
    if answer.schema is None:
        return {"type": "json_object"}
    schema = {
        "name": answer.name,
        "description": answer.description,
        "schema": object_schema(answer.schema),
        "strict": answer.strict,
    }
    return {"type": "json_schema", "json_schema": _without_nothing(schema)}


def _tools(tools: Tools, model: Model) -> dict[str, Any]:
    """The tools. Only a false `parallel_tool_calls` is sent, because true is the default. Models of the o-series refuse
    the field (github.com/run-llama/llama_index/issues/20865) and DeepSeek does not know it, so these are not sent it.
    """
    is_openai = model.api == "openai-chat"
    one_at_a_time = tools.parallel is False and is_openai and not model.reasoning
    return {
        "tools": [_tool(tool, strict=is_openai) for tool in tools.offered],
        "tool_choice": _choice(tools.choice) if tools.choice else None,
        "parallel_tool_calls": False if one_at_a_time else None,
    }


def _tool(tool: Tool, *, strict: bool) -> dict[str, Any]:
    """A tool. DeepSeek knows `strict` at its beta address only (api-docs.deepseek.com/guides/function_calling, read
    2026-11).
    """
    function = {
        "name": tool.name,
        "description": tool.description,
        "parameters": tool.parameters,
        "strict": tool.strict if strict else None,
    }
    return {"type": "function", "function": _without_nothing(function)}


def _choice(choice: ToolChoice) -> str | dict[str, Any]:
    return {"type": "function", "function": {"name": choice.name}} if choice.mode == "named" else choice.mode


def _message(message: Message, request: ProviderRequest) -> dict[str, Any]:
    content = _content(message, request.model)
    if message.cache_marks and request.model.cache_marks:
        content = _with_breakpoints(content, message)
    if message.role == "tool":
        return {"role": "tool", "tool_call_id": message.tool_call_id, "content": content}
    said = {"role": message.role, "content": content, **_thoughts(message, request)}
    if message.tool_calls:
        return {**said, "content": content or None, "tool_calls": [_call(call) for call in message.tool_calls]}
    return said


def _content(message: Message, model: Model) -> str | list[dict[str, Any]]:
    """The content. DeepSeek takes lists in the user's messages only: "invalid type: sequence, expected a string"
    (github.com/BerriAI/litellm/issues/6642, github.com/QwenLM/qwen-code/issues/2318), so texts are joined. All vendors
    refuse an empty list ("empty array. Expected an array with minimum length 1"). Read 2026-11.
    """
    if isinstance(message.content, str):
        return message.content
    if not message.content:
        return ""
    if model.api == "deepseek-chat" and not message.images():
        return message.text()
    detail = vendor_limits(model).image_detail
    return [_part(part, detail) for part in message.content]


def _with_breakpoints(content: str | list[dict[str, Any]], message: Message) -> str | list[dict[str, Any]]:
    """The content with OpenAI's marks. Marks belong to parts, so a message without text has none."""
    parts: list[dict[str, Any]] = [{"type": "text", "text": content}] if isinstance(content, str) else content
    if not message.text().strip() and not message.images():
        return content
    return with_breakpoints(parts, message)


def with_breakpoints(parts: list[dict[str, Any]], message: Message) -> list[dict[str, Any]]:
    """The parts of a message, with OpenAI's marks at some of them."""
    for mark in message.cache_marks:
        parts[min(mark.place, len(parts) - 1)]["prompt_cache_breakpoint"] = {"mode": "explicit"}
    return parts


def _thoughts(message: Message, request: ProviderRequest) -> dict[str, Any]:
    """The thoughts that are sent back. While DeepSeek's models think, they answer 400 if the reasoning of an answer is
    missing: always after a call (api-docs.deepseek.com/guides/thinking_mode), and lately after other answers, too (read
    2026-11). This service does not keep thoughts that the caller did not send back; an empty text suffices, as several
    clients found (github.com/anomalyco/opencode/issues/17523, 2026-03). The reasoner takes only the thoughts before a
    call: "Please remove the reasoning_content".
    """
    if message.role != "assistant" or not _deepseek_thinks(request):
        return {}
    takes_text = request.model.reasoning_efforts or message.tool_calls
    return {"reasoning_content": "".join(thought.text for thought in message.thoughts) if takes_text else ""}


def _call(call: ToolCall) -> dict[str, Any]:
    """A call. Missing arguments become `{}`, because vendors of this protocol parse them as JSON."""
    arguments = call.arguments if call.arguments.strip() else "{}"
    return {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": arguments}}


def _part(part: TextPart | ImagePart, detail: str | None) -> dict[str, Any]:
    if isinstance(part, TextPart):
        return {"type": "text", "text": part.text}
    url = {"url": part.image_url.url}
    return {"type": "image_url", "image_url": url | {"detail": detail} if detail else url}


def _without_nothing(given: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in given.items() if value is not None}
