"""OpenAI's API: parses `POST /v1/chat/completions` and forms its answer."""

from __future__ import annotations

from api.formats.asked import Asked, StreamForm
from api.formats.cache_marks import marked_at_end
from api.formats.known_fields import KnownFields, LeftOut
from api.formats.openai.answers import completion
from api.formats.openai.body import CompletionRequest, check
from api.formats.openai.messages import ThinkingPart
from api.formats.openai.streams import CompletionChunks
from api.formats.openai.tools import OfferedTool, is_hosted, neutral_tools
from api.formats.openai.turns import left_out_of, neutral_messages, thought_fields
from shared.job import Done

NAMES = {"json_answer": "response_format", "json_schema": "response_format"}
"""OpenAI's names of options that differ from ours."""

LEFT_OUT: LeftOut = {OfferedTool: is_hosted, ThinkingPart: lambda _: True}
_known = KnownFields(CompletionRequest, "It takes what OpenAI's chat completions take", LEFT_OUT)


class CompletionForm:
    """Forms the answer as `chat.completion`, or as chunks of one."""

    held_bytes = 0

    def __init__(self, *, with_usage: bool) -> None:
        self._with_usage = with_usage

    def answer(self, done: Done, request_id: str, model: str) -> bytes:
        """The whole completion."""
        return completion(done, request_id, model)

    def stream(self, accept: str, request_id: str, model: str) -> StreamForm:  # noqa: ARG002 - there is only one form
        """Server-sent events, whatever the header accepts: OpenAI's clients send `application/json` and expect events."""
        return CompletionChunks(request_id, model, with_usage=self._with_usage)


def parse_completion(body: bytes) -> Asked:
    """Parse a body; unknown fields are named in the result. Raises `InvalidRequest`, which names the field."""
    request, unknown = _known.decode(body)
    check(request)
    tools, left_out = neutral_tools(request.tools or (), request.tool_choice, parallel=request.parallel_tool_calls)
    unknown = [*unknown, *left_out, *left_out_of(request.messages)]
    wishes = request.wishes(unknown, strict_tools=tools.are_strict())
    messages = neutral_messages(request.messages)
    messages[-1] = marked_at_end(messages[-1], request.cache_control)
    return Asked(
        model=request.model,
        messages=messages,
        sampling=request.sampling(wishes),
        tools=tools,
        stream=bool(request.stream),
        max_tokens=request.output_limit,
        metadata=request.labels,
        service_tier=request.tier,
        models=tuple(request.models or ()),
        form=CompletionForm(with_usage=request.with_usage),
        names=NAMES | {"max_tokens": request.limit_name},
        body=request,
        tolerant=True,
        wishes=wishes.fields,
        ignored=wishes.ignored,
        thoughts=thought_fields(request.messages),
    )
