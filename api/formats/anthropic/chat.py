"""Anthropic's Messages API: parses `POST /v1/messages` and forms its answer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec
from multidict import MultiMapping

from api.formats.anthropic.answers import message
from api.formats.anthropic.body import (
    AnyChoice,
    AutoChoice,
    Choices,
    CountRequest,
    JsonFormat,
    MessagesRequest,
    NoneChoice,
    OfferedTool,
    OutputConfig,
    ToolNamedChoice,
)
from api.formats.anthropic.content import ServerToolUseBlock
from api.formats.anthropic.streams import MessageEvents
from api.formats.anthropic.threads import refuse_thread
from api.formats.anthropic.turns import BLOCKS, neutral_messages
from api.formats.asked import Asked, StreamForm
from api.formats.cache_marks import MarkField, end_mark, fields_of, fields_with_marks, marked_at_end
from api.formats.known_fields import KnownFields, LeftOut
from api.formats.schemas import is_closed
from api.formats.wishes import check_thinking, wishes_of
from shared.chat import NO_TOOLS, CacheMark, JsonAnswer, Message, Sampling, Tool, ToolChoice, Tools
from shared.errors import InvalidRequest
from shared.job import Done

NAMES = {
    "stop": "stop_sequences",
    "user": "metadata.user_id",
    "reasoning_effort": "output_config.effort",
    "json_answer": "output_config.format",
    "json_schema": "output_config.format",
}
HINT = (
    "It takes model, max_tokens and messages of text, image (base64), tool_use and tool_result blocks, and tools of "
    "your own"
)
CALLERS_OWN = ("bash_", "text_editor_", "computer_", "memory_")
"""Prefixes of tool types that the caller runs and whose schema only Anthropic's models know."""
INTERLEAVED = "interleaved-thinking-"
"""Anthropic's beta for thoughts between calls: "budget_tokens can exceed the max_tokens parameter, as it represents the total
budget across all thinking blocks within one assistant turn" (platform.claude.com/docs, extended thinking, read 2026-11).
"""


class MessagesForm:
    """Forms the answer as a message of content blocks."""

    held_bytes = 0

    def __init__(self, *, tells_model: bool = False) -> None:
        """`tells_model`: the end of a stream names the model that served."""
        self._tells_model = tells_model

    def answer(self, done: Done, request_id: str, model: str) -> bytes:
        """The whole message."""
        return message(done, request_id, model)

    def stream(self, accept: str, request_id: str, model: str) -> StreamForm:  # noqa: ARG002 - a stream is always one of events
        """Server-sent events in every case."""
        return MessageEvents(model, request_id, tells_model=self._tells_model)


def _is_hosted(kind: str | None) -> bool:
    """True if Anthropic runs tools of this type itself; such a tool is left out completely."""
    return kind not in {None, "custom"} and not kind.startswith(CALLERS_OWN)


LEFT_OUT: LeftOut = {OfferedTool: _is_hosted, ServerToolUseBlock: lambda _: True}
_messages = KnownFields(MessagesRequest, HINT, LEFT_OUT)
_counts = KnownFields(CountRequest, HINT, LEFT_OUT)


def thinks_between_calls(headers: MultiMapping[str]) -> bool:
    """True if the caller asks for the beta in which `budget_tokens` also counts the thoughts between calls, and so may
    exceed `max_tokens`.
    """
    names = ",".join(headers.getall("anthropic-beta", [])).split(",")
    return any(name.strip().startswith(INTERLEAVED) for name in names)


def parse_message(body: bytes, *, interleaved: bool = False) -> Asked:
    """Parse a body; unknown fields are named in the result. `interleaved` is `thinks_between_calls` of its headers. Raises
    `InvalidRequest`, which names the field.
    """
    request, unknown = _messages.decode(body)
    refuse_thread(request.thread)
    check_thinking(request.thinking, None if interleaved else request.max_tokens)
    asked = _asked(request, unknown)
    wanted = asked.sampling
    sampling = msgspec.structs.replace(
        wanted,
        temperature=request.temperature,
        top_p=request.top_p,
        top_k=request.top_k,
        stop=tuple(request.stop_sequences or ()),
        user=(request.metadata.user_id if request.metadata else None) or None,
    )
    return msgspec.structs.replace(
        asked,
        sampling=sampling,
        stream=bool(request.stream),
        max_tokens=request.max_tokens,
        service_tier="flex" if request.service_tier == "flex" else None,
        models=tuple(request.models or ()),
        form=MessagesForm(tells_model=bool(request.models)),
    )


def parse_count(body: bytes) -> Asked:
    """Parse a body whose tokens are to be counted. Raises `InvalidRequest`."""
    request, unknown = _counts.decode(body)
    check_thinking(request.thinking, None)
    return _asked(request, unknown)


def _asked(request: CountRequest, unknown: list[str]) -> Asked:
    tools, tools_left_out = _tools(request)
    messages, parts_left_out = neutral_messages(request.system, request.messages)
    messages[-1] = marked_at_end(messages[-1], request.cache_control)
    output = request.output_config or OutputConfig()
    wishes = wishes_of(
        [*unknown, *tools_left_out, *parts_left_out, *_more_wishes(request)],
        effort=output.effort,
        effort_field="output_config.effort",
        thinking=request.thinking,
        marks=_marks(request, messages),
        others=_options(request) | {"strict_tools": "tools[].strict" if tools.are_strict() else None},
    )
    return Asked(
        model=request.model,
        messages=messages,
        sampling=Sampling(
            reasoning_effort=wishes.effort,
            thinking_budget=wishes.thinking_budget,
            shows_thoughts=request.thinking is not None and request.thinking.is_shown,
            signs_thoughts=request.thinking is not None and request.thinking.is_asked_for,
            json_answer=_json_answer(output.format or request.output_format),
        ),
        tools=tools,
        form=MessagesForm(),
        names=NAMES,
        body=request,
        tolerant=True,
        wishes=wishes.fields,
        ignored=wishes.ignored,
        thoughts=(f"{BLOCKS}.thinking",),
    )


def _marks(request: CountRequest, messages: Sequence[Message]) -> Iterator[MarkField]:
    """The fields with cache marks."""
    yield from fields_with_marks("tools[]", request.tools or ())
    yield from fields_with_marks("system[]", request.system if isinstance(request.system, list) else ())
    said = messages[1:] if request.system and messages[0].role == "system" else messages
    marks = [mark for message in said for mark in message.cache_marks]
    if marks:
        yield MarkField(f"{BLOCKS}.cache_control", "cache")
    if any(mark.long for mark in marks):
        yield MarkField(f"{BLOCKS}.cache_control.ttl", "cache_time")
    yield from fields_of("cache_control", request.cache_control)


def _json_answer(wanted: JsonFormat | None) -> JsonAnswer | None:
    return JsonAnswer(schema=wanted.schema, strict=is_closed(wanted.schema) or None) if wanted else None


def _options(request: CountRequest) -> dict[str, str | None]:
    if not isinstance(request, MessagesRequest):
        return {}
    shows = request.thinking is not None and request.thinking.is_shown and request.thinking.display is not None
    return {
        "top_k": "top_k" if request.top_k else None,
        "shown_thoughts": "thinking.display" if shows else None,
        "user": "metadata.user_id" if request.metadata and request.metadata.user_id else None,
    }


def _more_wishes(request: CountRequest) -> list[str]:
    """The names of fields that are left out unless they have their default value."""
    if not isinstance(request, MessagesRequest):
        return []
    tier = request.service_tier not in {None, "auto", "standard_only", "default", "flex"}
    speed = request.speed not in {None, "standard"}
    return ["service_tier"] * tier + ["speed"] * speed


def _tools(request: CountRequest) -> tuple[Tools, list[str]]:
    """The caller's own tools, and the names of those that are left out because Anthropic would run them."""
    own: list[Tool] = []
    marks: list[CacheMark] = []
    left_out: list[str] = []
    for position, tool in enumerate(request.tools or ()):
        if tool.type in {None, "custom"}:
            own.append(_tool(position, tool))
            marks += [end_mark(len(own), tool.cache_control)] if tool.cache_control else []
        elif tool.type.startswith(CALLERS_OWN):
            raise InvalidRequest(
                f"`tools[{position}].type`: what {tool.type[:100]!r} takes is known to Anthropic's models only. Offer a tool "
                f"with an `input_schema` of its own."
            )
        else:
            left_out.append(f"tools[].{tool.type[:100]}")
    _refuse_unusable(request, [tool.name for tool in own])
    one_at_a_time = request.tool_choice and request.tool_choice.disable_parallel_tool_use
    if not own:
        return NO_TOOLS, left_out
    parallel = False if one_at_a_time else None
    choice = _choice(request.tool_choice)
    return Tools(offered=tuple(own), choice=choice, parallel=parallel, cache_marks=tuple(marks)), left_out


def _refuse_unusable(request: CountRequest, names: list[str]) -> None:
    choice = request.tool_choice
    if len(set(names)) < len(names):
        raise InvalidRequest("`tools`: two of them have the same name.")
    if isinstance(choice, ToolNamedChoice) and choice.name not in names:
        raise InvalidRequest(f"`tool_choice.name`: there is no tool {choice.name} among `tools`.")
    if isinstance(choice, AnyChoice) and not names:
        raise InvalidRequest("`tool_choice` goes with `tools` only.")


def _tool(position: int, tool: OfferedTool) -> Tool:
    if tool.name is None:
        raise InvalidRequest(f"`tools[{position}].name` is missing.")
    if tool.input_schema is None or tool.input_schema.get("type") != "object":
        raise InvalidRequest(f'`tools[{position}].input_schema` is a JSON Schema with "type": "object".')
    return Tool(name=tool.name, description=tool.description, parameters=tool.input_schema, strict=tool.strict)


def _choice(choice: Choices | None) -> ToolChoice | None:
    match choice:
        case None:
            return None
        case ToolNamedChoice(name=name):
            return ToolChoice("named", name)
        case AnyChoice():
            return ToolChoice("required")
        case NoneChoice():
            return ToolChoice("none")
        case AutoChoice():
            return ToolChoice("auto")
