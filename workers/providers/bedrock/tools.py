"""Tools in Converse's form: definitions, choice, calls and results in the history, and calls in an answer.

Wire format: docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ToolConfiguration.html (read 2026-11), and botocore
1.40's model of it.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any

from shared.chat import ImagePart, TextPart, Tool, ToolCall, ToolChoice, Tools
from shared.thoughts import Thought
from workers.providers.protocol import ProviderRequest
from workers.providers.wire.conversation import CachePoint, Conversation, Spoken, ToolResult, arguments, image

NO_ARGUMENTS = {"type": "object", "properties": {}}
"""The schema of a tool without arguments: `inputSchema` is required, and must be of type object."""
NOTHING_SAID = "(no output)"
"""The text that replaces an empty result, because a blank text block is refused."""


def tool_config(request: ProviderRequest) -> dict[str, Any] | None:
    """The tools; None if there are none or none may be called, because Converse's choice of tools has no `none`."""
    tools = request.tools
    if not tools.may_be_called():
        return None
    config: dict[str, Any] = {"tools": list(_offered(tools))}
    if tools.choice and (choice := _choice(tools.choice)):
        config["toolChoice"] = choice
    return config


def messages(talk: Conversation, *, with_tools: bool) -> list[dict[str, Any]]:
    """The turns. Without a `toolConfig` Converse refuses tool blocks (ValidationException, read 2026-11): then calls and
    results are written as text, which models understand.
    """
    return [
        {"role": turn.role, "content": [block for part in turn.parts for block in _blocks(part, with_tools=with_tools)]}
        for turn in talk.turns
    ]


def _offered(tools: Tools) -> Iterator[dict[str, Any]]:
    marks = {mark.place: mark.long for mark in tools.cache_marks}
    for place, tool in enumerate(tools.offered):
        yield {"toolSpec": _specification(tool)}
        if place in marks:
            yield cache_point(long=marks[place])


def cache_point(*, long: bool) -> dict[str, Any]:
    """A block behind what is to be cached, for 5 minutes or for an hour
    (docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_CachePointBlock.html, read 2026-11).
    """
    return {"cachePoint": {"type": "default"} | ({"ttl": "1h"} if long else {})}


def _specification(tool: Tool) -> dict[str, Any]:
    described = {"description": tool.description} if tool.description else {}
    return {"name": tool.name, "inputSchema": {"json": tool.parameters or NO_ARGUMENTS}} | described


def _choice(choice: ToolChoice) -> dict[str, Any] | None:
    """The choice of tools. `auto` is the default and left out, because many models refuse it (see `tools_lack` in the
    catalogue).
    """
    match choice.mode:
        case "required":
            return {"any": {}}
        case "named":
            return {"tool": {"name": choice.name}}
        case _:
            return None


def _blocks(part: Spoken, *, with_tools: bool) -> list[dict[str, Any]]:
    match part:
        case ToolCall():
            return [_call(part, with_tools=with_tools)]
        case ToolResult():
            return _result(part, with_tools=with_tools)
        case Thought():
            return _thought(part) if with_tools else []
        case TextPart(text):
            return [{"text": text}]
        case CachePoint(long):
            return [cache_point(long=long)]
        case _:
            return [_image(part)]


def _call(call: ToolCall, *, with_tools: bool) -> dict[str, Any]:
    if not with_tools:
        return {"text": f"[I called the tool {call.name} with {call.arguments or '{}'}]"}
    return {"toolUse": {"toolUseId": call.id, "name": call.name, "input": arguments(call)}}


def _result(result: ToolResult, *, with_tools: bool) -> list[dict[str, Any]]:
    images = [_image(shown) for shown in result.images]
    if not with_tools:
        return [{"text": f"[The tool {result.call.name} said: {result.text}]"}, *images]
    said = [{"text": result.text}] if result.text.strip() else []
    content = [*said, *images] or [{"text": NOTHING_SAID}]
    return [{"toolResult": {"toolUseId": result.call.id, "content": content}}]


def _thought(thought: Thought) -> list[dict[str, Any]]:
    """The thought in the vendor's form; nothing for an unsigned one, which the vendor does not take back."""
    if not thought.signature:
        return []
    if thought.redacted:
        return [{"reasoningContent": {"redactedContent": base64.b64decode(thought.signature)}}]
    return [{"reasoningContent": {"reasoningText": {"text": thought.text, "signature": thought.signature}}}]


def _image(part: ImagePart) -> dict[str, Any]:
    kind, data = image(part)
    return {"image": {"format": kind, "source": {"bytes": data}}}
