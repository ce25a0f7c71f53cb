"""Tools and JSON answers in OpenAI's chat completions: what is offered and asked for, and what is refused.

Sources: OpenAI's API reference, its guides to function calling and structured outputs, and its errors as users report
them (2024-2026); for what reasoning models refuse also Azure's table of their parameters.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from deploy.simulator.exchange import Refusal
from deploy.simulator.openai.body import ChatRequest, Message, Named, text_of
from deploy.simulator.openai.models import NO_CHAT_TOOLS, Model
from deploy.simulator.openai.names import check_count, check_ids, check_names
from deploy.simulator.openai.rules import thinks
from deploy.simulator.openai.schemas import wrong_schema
from deploy.simulator.openai.values import INVALID
from deploy.simulator.script import Said
from deploy.simulator.tools import ANY_JSON, AskedTools, Offer


def asked_of(body: ChatRequest) -> AskedTools:
    """The tools, the tool choice and the form of the answer in a request."""
    offers = tuple(Offer(tool.function.name, tool.function.parameters or {}) for tool in body.tools or ())
    choice = body.tool_choice
    last = body.messages[-1] if body.messages else None
    return AskedTools(
        offers=offers,
        choice="auto" if choice is None or isinstance(choice, Named) else choice,
        only=choice.function.name if isinstance(choice, Named) else None,
        parallel=body.parallel_tool_calls is not False,
        result=text_of(last) if last and last.role == "tool" else None,
        schema=_schema(body),
    )


def talk_of(messages: list[Message]) -> tuple[Said, ...]:
    """The conversation: each text with its speaker."""
    by: dict[str, Literal["user", "model", "tool"]] = {"user": "user", "assistant": "model", "tool": "tool"}
    return tuple(Said(by[message.role], text_of(message)) for message in messages if message.role in by)


def texts_of(body: ChatRequest) -> list[str]:
    """List the texts that are prompt besides the contents of messages: definitions, calls, schemas, and DeepSeek's thoughts
    of answers with calls. Those of other answers are ignored (api-docs.deepseek.com/guides/thinking_mode, read 2026-11).
    """
    texts = [call.function.name + call.function.arguments for m in body.messages for call in m.tool_calls or ()]
    texts += [m.reasoning_content for m in body.messages if m.tool_calls and m.reasoning_content]
    texts += [msgspec.json.encode(tool).decode() for tool in body.tools or ()]
    return [*texts, schema.decode()] if (schema := schema_json(body)) else texts


def schema_json(body: ChatRequest) -> bytes | None:
    """The schema of a JSON answer as part of the prompt; None if there is none."""
    schema = _schema(body)
    return msgspec.json.encode(schema) if schema else None


def check_tools(body: ChatRequest, model: Model) -> None:
    """Check tools, their results and the form of the answer against OpenAI's rules; raises `Refusal`."""
    _check_model(body, model)
    check_count(body)
    check_names(body)
    check_ids(body.messages)
    _check_offers(body)
    check_results(body.messages)
    _check_form(body)


def check_results(messages: list[Message]) -> None:
    """Check that every call has its result right after the message that makes the call, and that there are no other
    results; raises `Refusal`.
    """
    waiting: list[str] = []
    answerable: set[str] = set()
    for i, message in enumerate(messages):
        if message.role == "tool":
            if not answerable:
                words = "messages with role 'tool' must be a response to a preceeding message with 'tool_calls'."
                raise _invalid(f"Invalid parameter: {words}", f"messages.[{i}].role")
            if message.tool_call_id not in answerable:
                words = f"'tool_call_id' of '{message.tool_call_id}' not found in 'tool_calls' of previous message."
                raise _invalid(f"Invalid parameter: {words}", f"messages.[{i}].tool_call_id")
            if message.tool_call_id not in waiting:
                raise _twice(message.tool_call_id or "", i)
            waiting.remove(message.tool_call_id)
            continue
        _check_answered(waiting, i)
        waiting = [call.id for call in message.tool_calls or ()]
        answerable = set(waiting)
        if len(answerable) < len(waiting):
            raise _twice(next(one for one in waiting if waiting.count(one) > 1), i)
        if message.content is None and not message.tool_calls:
            raise _invalid("Invalid value for 'content': expected a string, got null.", f"messages.[{i}].content")
    _check_answered(waiting, len(messages))


def _twice(call: str, i: int) -> Refusal:
    return _invalid(f"Duplicate value for 'tool_call_id' of {call} in message[{i}]", f"messages.[{i}]")


def _check_answered(waiting: list[str], i: int) -> None:
    if waiting:
        raise _invalid(
            "An assistant message with 'tool_calls' must be followed by tool messages responding to each 'tool_call_id'. "
            f"The following tool_call_ids did not have response messages: {', '.join(waiting)}",
            f"messages.[{i}].role",
        )


def _check_model(body: ChatRequest, model: Model) -> None:
    """Check the fields that the model knows: o1-mini knows none of these; other o-series models know all but
    `parallel_tool_calls`. From GPT-5.4 on tools need the effort none, which some models do not have.
    """
    given = {
        "tools": body.tools,
        "tool_choice": body.tool_choice,
        "response_format": body.response_format if _wants_json(body) else None,
        "reasoning_effort": body.reasoning_effort,
    }
    if not model.system and (name := next((name for name, value in given.items() if value is not None), None)):
        raise _unsupported(name)
    if model.reasons and not model.modern and body.parallel_tool_calls is not None:
        raise _unsupported("parallel_tool_calls")
    if body.tools and not model.tools_think and (thinks(body, model) or model.name in NO_CHAT_TOOLS):
        raise _invalid(
            f"Function tools with reasoning_effort are not supported for {model.name} in /v1/chat/completions. To use "
            "function tools, use /v1/responses or set reasoning_effort to 'none'.",
            "reasoning_effort",
        )
    if not model.reasons and body.reasoning_effort is not None:
        raise _invalid("Unrecognized request argument supplied: reasoning_effort", None)


def _check_offers(body: ChatRequest) -> None:
    for name in ("tool_choice", "parallel_tool_calls"):
        if getattr(body, name) is not None and body.tools is None:
            raise _invalid(f"Invalid value for '{name}': '{name}' is only allowed when 'tools' are specified.", name)
    if body.tools is None:
        return
    for i, tool in enumerate(body.tools):
        where = f"tools[{i}].function"
        function = tool.function
        wrong = None if function.parameters is None else wrong_schema(function.parameters, strict=bool(function.strict))
        if wrong:
            words = f"Invalid schema for function '{function.name}': {wrong}"
            raise Refusal(400, "invalid_function_parameters", words, INVALID, f"{where}.parameters")
    choice = body.tool_choice
    if isinstance(choice, Named) and choice.function.name not in {tool.function.name for tool in body.tools}:
        raise _invalid(
            f"Invalid value for 'tool_choice': no function named {choice.function.name!r} was specified in the 'tools' "
            "parameter.",
            "tool_choice",
        )


def _check_form(body: ChatRequest) -> None:
    form = body.response_format
    if form is None or form.type == "text":
        return
    if form.type == "json_object" and not any("json" in text_of(message).lower() for message in body.messages):
        raise _invalid(
            "'messages' must contain the word 'json' in some form, to use 'response_format' of type 'json_object'.",
            "messages",
        )
    if form.type == "json_schema" and form.json_schema is None:
        raise _invalid("Missing required parameter: 'response_format.json_schema'.", "response_format.json_schema")
    if form.json_schema is not None:
        wrong = wrong_schema(form.json_schema.schema, strict=bool(form.json_schema.strict))
        if wrong:
            words = f"Invalid schema for response_format '{form.json_schema.name}': {wrong}"
            raise _invalid(words, "response_format")


def _wants_json(body: ChatRequest) -> bool:
    return body.response_format is not None and body.response_format.type != "text"


def _schema(body: ChatRequest) -> dict[str, Any] | None:
    form = body.response_format
    if form is None or form.type == "text":
        return None
    return form.json_schema.schema if form.json_schema else ANY_JSON


def _invalid(message: str, param: str | None) -> Refusal:
    return Refusal(400, None, message, INVALID, param)


def _unsupported(name: str) -> Refusal:
    message = f"Unsupported parameter: '{name}' is not supported with this model."
    return Refusal(400, "unsupported_parameter", message, INVALID, name)
