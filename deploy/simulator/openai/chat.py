"""OpenAI chat completions: `POST /v1/chat/completions` as JSON and SSE, and `GET /v1/models`.

Facts from OpenAI's API reference and error pages, and from what the models answered, as of 2025.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import msgspec
from aiohttp import web

from deploy.simulator import answer
from deploy.simulator.acts import Wire
from deploy.simulator.answer import CallText, Usage
from deploy.simulator.exchange import Question, Refusal, Told, fault_refusal, serve
from deploy.simulator.openai.rules import BLOCKED, MODELS, REFUSALS, RETIRED, ChatRequest, Model, check_chat, text_of
from deploy.simulator.openai.tools import asked_of, check_tools, talk_of, texts_of

_FINISH = {"stop": "stop", "stop_sequence": "stop", "length": "length", "tool_calls": "tool_calls"}


class OpenAIChat:
    """The dialect of `/v1/chat/completions`."""

    api = "openai-chat"
    stream_type = "text/event-stream; charset=utf-8"
    models: Mapping[str, Model] = MODELS
    refusals: Mapping[int, Refusal] = REFUSALS
    retired: Refusal = RETIRED
    blocked: Refusal | None = BLOCKED

    def read(self, request: web.Request, raw: bytes) -> Question:
        """Understand a request; raises `Refusal` without a bearer key or for a body that is not a chat request."""
        check_bearer(request)
        try:
            body = msgspec.json.decode(raw, type=ChatRequest)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise Refusal(400, None, f"We could not parse your request: {error}", "invalid_request_error") from None
        model = self.models.get(body.model)
        texts = [text_of(message) for message in body.messages]
        images = sum(
            part.type == "image_url" for m in body.messages if isinstance(m.content, list) for part in m.content
        )
        return Question(
            model=model.name if model else body.model,
            talk=talk_of(body.messages),
            prompt_tokens=answer.prompt_tokens([*texts, *texts_of(body)], images),
            limit=self.limit(body, model),
            stops=(body.stop,) if isinstance(body.stop, str) else tuple(body.stop or ()),
            stream=bool(body.stream),
            include_usage=body.stream_options is not None and body.stream_options.include_usage,
            body=body,
            asked=asked_of(body),
        )

    def limit(self, body: ChatRequest, model: Model | None) -> int:
        """Give the output limit in tokens: the request's, else the model's."""
        return body.max_completion_tokens or body.max_tokens or (model.output_max if model else 0)

    def check(self, question: Question) -> None:
        """Hold a request against the rules of its model; raises `Refusal`."""
        model = check_chat(question.body, self.models.get(question.body.model), question.prompt_tokens)
        check_tools(question.body, model)

    def refuse(self, refusal: Refusal) -> web.Response:
        """Say a refusal with OpenAI's headers."""
        headers = {"x-request-id": f"req_{time.time_ns():x}"}
        if refusal.retry_after:
            headers["retry-after"] = str(refusal.retry_after)
        body = self.complaint(refusal)
        return web.Response(status=refusal.status, body=body, headers=headers, content_type="application/json")

    def headers(self, told: Told) -> dict[str, str]:
        """Give the headers that OpenAI adds to an answer."""
        return {"x-request-id": f"req_{told.ordinal:032x}", "openai-version": "2020-10-01", "Cache-Control": "no-cache"}

    def complaint(self, refusal: Refusal) -> bytes:
        """Say the error object."""
        error = {"message": refusal.message, "type": refusal.kind, "param": refusal.param, "code": refusal.code}
        return msgspec.json.encode({"error": error})

    def body(self, told: Told) -> bytes:
        """Say a `chat.completion`."""
        choice = {
            "index": 0,
            "message": self.message(told),
            "logprobs": None,
            "finish_reason": finish_reason(told),
        }
        usage = {"usage": self.usage(told.usage)} if told.usage else {}
        return msgspec.json.encode({**self.head(told, "chat.completion"), "choices": [choice], **usage})

    def wire(self, told: Told) -> Wire:
        """Say `chat.completion.chunk` events."""
        return ChatWire(self, told)

    def message(self, told: Told) -> dict[str, Any]:
        """Give the assistant's message of a JSON answer."""
        return {**spoken(told), "refusal": None, "annotations": []}

    def usage(self, usage: Usage) -> dict[str, Any]:
        """Give the usage object: cached inside the prompt, reasoning inside the completion."""
        return {
            "prompt_tokens": usage.prompt,
            "completion_tokens": usage.output,
            "total_tokens": usage.total,
            "prompt_tokens_details": {"cached_tokens": usage.cached, "audio_tokens": 0},
            "completion_tokens_details": {
                "reasoning_tokens": usage.reasoning,
                "audio_tokens": 0,
                "accepted_prediction_tokens": 0,
                "rejected_prediction_tokens": 0,
            },
        }

    def head(self, told: Told, kind: str) -> dict[str, Any]:
        """Give the fields that every chunk and every completion begin with."""
        return {
            "id": f"chatcmpl-{told.ordinal:029d}",
            "object": kind,
            "created": int(time.time()),
            "model": told.question.model,
            "service_tier": "default",
            "system_fingerprint": "fp_simulated",
        }


class ChatWire:
    """The SSE events of one answer; what stays the same in every event is rendered once."""

    def __init__(self, dialect: OpenAIChat, told: Told) -> None:
        self.told = told
        self._dialect = dialect
        self._head = msgspec.json.encode(dialect.head(told, "chat.completion.chunk"))[:-1]
        asked = told.question.include_usage
        self._start = b"data: " + self._head + b',"choices":[{"index":0,"delta":{'
        self._end = b'},"logprobs":null,"finish_reason":null}]' + (b',"usage":null' if asked else b"") + b"}\n\n"
        self._token_start = self._start + b'"content":'

    def opening(self) -> bytes:
        """Say the role; the content is null where the answer is tool calls only."""
        content = b"null" if self.told.reply.calls and not self.told.reply.text else b'""'
        return self.delta(b'"role":"assistant","content":' + content + b',"refusal":null')

    def delta(self, fields: bytes) -> bytes:
        """Say a chunk with these fields in its delta."""
        return self._start + fields + self._end

    def thought(self, text: bytes) -> bytes:
        """Say nothing: OpenAI hides reasoning."""
        del text
        return b""

    def token(self, text: bytes) -> bytes:
        """Say a content delta."""
        return self._token_start + text + self._end

    def call(self, piece: CallText, text: bytes) -> bytes:
        """Say a delta of a tool call; the first one has its id and name."""
        index = b'{"index":%d,' % piece.index
        if not piece.name:
            return self.delta(b'"tool_calls":[' + index + b'"function":{"arguments":' + text + b"}}]")
        named = msgspec.json.encode({"id": call_id(self.told, piece.index), "type": "function"})[1:-1]
        function = b'"function":{"name":' + msgspec.json.encode(piece.name) + b',"arguments":' + text + b"}"
        return self.delta(b'"tool_calls":[' + index + named + b"," + function + b"}]")

    def finish(self) -> bytes:
        """Say the finish reason in a chunk of its own."""
        reason = msgspec.json.encode(finish_reason(self.told))
        return self._start + self._end.replace(b'"finish_reason":null', b'"finish_reason":' + reason)

    def done(self) -> bytes:
        """Say the usage in a chunk without choices, if asked for, and `[DONE]`."""
        if self.told.usage is None or not self.told.question.include_usage:
            return b"data: [DONE]\n\n"
        return b"data: " + self._head + b',"choices":[],"usage":' + self.counts() + b"}\n\ndata: [DONE]\n\n"

    def counts(self) -> bytes:
        """Render the usage object, `null` where it is missing."""
        return msgspec.json.encode(self.told.usage and self._dialect.usage(self.told.usage))

    def error(self) -> bytes:
        """Say an error object in an event."""
        refusal = fault_refusal(self._dialect, self.told.script)
        return b"data: " + self._dialect.complaint(refusal) + b"\n\n"

    def comment(self) -> bytes:
        """Say a keep-alive comment."""
        return b": keep-alive\n\n"

    def garbage(self) -> bytes:
        """Say an event whose JSON stops in the middle."""
        return b"data: " + self._head + b',"choices":[{"ind\n\n'


def check_bearer(request: web.Request) -> None:
    """Ask for a bearer key, any key; raises `Refusal`."""
    scheme, _, key = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not key.strip():
        message = "You didn't provide an API key. You need to provide your API key in an Authorization header."
        raise Refusal(401, None, message, "invalid_request_error")


def spoken(told: Told) -> dict[str, Any]:
    """Give what the assistant says: text, tool calls, or both."""
    calls = [
        {"id": call_id(told, i), "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
        for i, call in enumerate(told.reply.calls)
    ]
    content = told.reply.text or ("" if not calls else None)
    return {"role": "assistant", "content": content} | ({"tool_calls": calls} if calls else {})


def call_id(told: Told, index: int) -> str:
    """Name a tool call."""
    return f"call_{told.ordinal:020d}{index:04d}"


def finish_reason(told: Told) -> str:
    """Give the scripted finish reason, else OpenAI's word for the true one: `stop` where the request named the tool."""
    ending = "stop" if told.question.asked.only and told.reply.ending == "tool_calls" else told.reply.ending
    return told.script.finish or _FINISH[ending]


async def chat_completions(request: web.Request) -> web.StreamResponse:
    """Serve `POST /v1/chat/completions`."""
    return await serve(request, OPENAI_CHAT)


async def list_models(request: web.Request) -> web.Response:
    """Serve `GET /v1/models`."""
    try:
        check_bearer(request)
    except Refusal as refusal:
        return OPENAI_CHAT.refuse(refusal)
    data = [{"id": name, "object": "model", "created": 1_700_000_000, "owned_by": "openai"} for name in MODELS]
    return web.json_response({"object": "list", "data": data})


OPENAI_CHAT = OpenAIChat()
