"""Anthropic's Messages API: what `POST /v1/messages` takes, and how it answers."""

from __future__ import annotations

import msgspec

from api.formats.anthropic.answers import message
from api.formats.anthropic.body import (
    AnyChoice,
    AutoChoice,
    Choices,
    CustomTool,
    MessagesRequest,
    NoneChoice,
    ToolNamedChoice,
)
from api.formats.anthropic.streams import MessageEvents
from api.formats.anthropic.turns import neutral_messages
from api.formats.asked import Asked, StreamForm
from api.formats.parsing import parse
from shared.chat import NO_TOOLS, JsonAnswer, Sampling, Tool, ToolChoice, Tools
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
    "your own with names of at most 64 characters"
)


class MessagesForm:
    """A message of content blocks."""

    def __init__(self, model: str) -> None:
        self._model = model

    def answer(self, done: Done, request_id: str) -> bytes:
        """The whole message."""
        return message(done, request_id, self._model)

    def stream(self, accept: str, request_id: str) -> StreamForm:  # noqa: ARG002 - a stream is always one of events
        """Server-sent events."""
        return MessageEvents(self._model, request_id)


_decoder = msgspec.json.Decoder(MessagesRequest)


def parse_message(body: bytes) -> Asked:
    """Strict: raises `InvalidRequest` that names the field."""
    request = parse(body, _decoder, HINT)
    return Asked(
        model=request.model,
        messages=neutral_messages(request.system, request.messages),
        sampling=_sampling(request),
        tools=_tools(request),
        stream=bool(request.stream),
        max_tokens=request.max_tokens,
        form=MessagesForm(request.model),
        names=NAMES,
        body=request,
    )


def _sampling(request: MessagesRequest) -> Sampling:
    output = request.output_config
    return Sampling(
        temperature=request.temperature,
        top_p=request.top_p,
        stop=tuple(request.stop_sequences or ()),
        user=request.metadata.user_id if request.metadata else None,
        reasoning_effort=output.effort if output else None,
        json_answer=JsonAnswer(schema=output.format.schema, strict=True) if output and output.format else None,
    )


def _tools(request: MessagesRequest) -> Tools:
    offered = request.tools or []
    _refuse_unusable(request, {tool.name for tool in offered})
    if not offered:
        return NO_TOOLS
    one_at_a_time = request.tool_choice and request.tool_choice.disable_parallel_tool_use
    return Tools(
        offered=tuple(_tool(position, tool) for position, tool in enumerate(offered)),
        choice=_choice(request.tool_choice),
        parallel=False if one_at_a_time else None,
    )


def _refuse_unusable(request: MessagesRequest, names: set[str]) -> None:
    choice = request.tool_choice
    if len(names) < len(request.tools or []):
        raise InvalidRequest("`tools`: two of them have the same name.")
    if choice and not names:
        raise InvalidRequest("`tool_choice` goes with `tools` only.")
    if isinstance(choice, ToolNamedChoice) and choice.name not in names:
        raise InvalidRequest(f"`tool_choice.name`: there is no tool {choice.name} among `tools`.")


def _tool(position: int, tool: CustomTool) -> Tool:
    if tool.input_schema.get("type") != "object":
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
