"""OpenAI chat completions: `POST /v1/chat/completions` as JSON and SSE, and `GET /v1/models`.

Facts from OpenAI's API reference and error pages, and from what the models answered, as of 2025.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from typing import Any

import msgspec
from aiohttp import web

from deploy.simulator import answer
from deploy.simulator.acts import Wire
from deploy.simulator.answer import Usage
from deploy.simulator.caching import Policy, Prompt
from deploy.simulator.exchange import Question, Refusal, Told, serve
from deploy.simulator.openai.body import ChatRequest, text_of
from deploy.simulator.openai.caching import breakpoints_of, check_caching, pieces_of, policy_of
from deploy.simulator.openai.contents import check_contents
from deploy.simulator.openai.known import check_known
from deploy.simulator.openai.models import MODELS, Model
from deploy.simulator.openai.rules import (
    ABOVE_LIMIT,
    BLOCKED,
    FULL,
    NO_CREDIT,
    REFUSALS,
    RETIRED,
    WRONG_KEY,
    check_chat,
    thinks,
)
from deploy.simulator.openai.tools import asked_of, check_tools, schema_json, talk_of, texts_of
from deploy.simulator.openai.values import INVALID
from deploy.simulator.openai.wire import ChatWire, finish_reason, spoken

NO_JSON = (
    "We could not parse the JSON body of your request. (HINT: This likely means you aren't using your HTTP library "
    "correctly. The OpenAI API expects a JSON payload, but what was sent was not valid JSON.)"
)


class OpenAIChat:
    """The dialect of `/v1/chat/completions`."""

    api = "openai-chat"
    stream_type = "text/event-stream; charset=utf-8"
    knows_tiers = True
    models: Mapping[str, Model] = MODELS
    refusals: Mapping[int, Refusal] = REFUSALS
    wrong_key: Refusal = WRONG_KEY
    no_credit: Refusal = NO_CREDIT
    retired: Refusal = RETIRED
    blocked: Refusal | None = BLOCKED
    above_limit: Refusal | None = ABOVE_LIMIT

    def read(self, request: web.Request, raw: bytes) -> Question:
        """Understand a request; raises `Refusal` without a bearer key or for a body that is not a chat request."""
        check_bearer(request)
        body = self.parse(request, raw)
        model = self.models.get(body.model)
        flex = self.knows_tiers and body.service_tier == "flex"
        texts = [text_of(message) for message in body.messages]
        images = sum(
            part.type == "image_url" for m in body.messages if isinstance(m.content, list) for part in m.content
        )
        key = request.headers["Authorization"]
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
            thinks=model is not None and self.thinks(body, model),
            tier="flex" if flex else "",
            full=FULL if flex else None,
            prompt=self.prompt(body, model, key) if model else None,
        )

    def prompt(self, body: ChatRequest, model: Model, key: str) -> Prompt:
        """The prompt for the cache."""
        owner = f"{self.api} {model.name} {key}".encode()
        return Prompt(owner, lambda: pieces_of(body, schema_json(body), model), self.policy(model))

    def policy(self, model: Model) -> Policy:
        """The policy of the vendor's cache."""
        return policy_of(model)

    def parse(self, request: web.Request, raw: bytes) -> ChatRequest:
        """Read the body; raises `Refusal` for what is no JSON, and for fields and types that OpenAI does not know."""
        if "json" not in request.content_type:
            raise Refusal(400, None, "you must provide a model parameter", INVALID)
        try:
            check_known(msgspec.json.decode(raw, type=dict[str, Any]))
            return msgspec.json.decode(raw, type=ChatRequest)
        except msgspec.ValidationError as error:
            words, _, where = str(error).partition(" - at `$.")
            raise Refusal(
                400, "invalid_type", f"Invalid type for '{where[:-1]}': {words}", INVALID, where[:-1]
            ) from None
        except (msgspec.DecodeError, UnicodeDecodeError):
            raise Refusal(400, None, NO_JSON, INVALID) from None

    def limit(self, body: ChatRequest, model: Model | None) -> int:
        """The output limit in tokens: the request's, or the model's."""
        return body.max_completion_tokens or body.max_tokens or (model.output_max if model else 0)

    def thinks(self, body: ChatRequest, model: Model) -> bool:
        """True if the model thinks before it answers."""
        return thinks(body, model)

    def check(self, question: Question) -> None:
        """Check a request against the rules of its model; raises `Refusal`."""
        model = check_chat(question.body, self.models.get(question.body.model), question.prompt_tokens)
        check_contents(question.body, model)
        check_caching(question.body, breakpoints_of(question.body), model)
        check_tools(question.body, model)

    def refuse(self, refusal: Refusal) -> web.Response:
        """A refusal with OpenAI's headers."""
        headers = {"x-request-id": f"req_{time.time_ns():x}"}
        if refusal.retry_after:
            headers["retry-after"] = str(math.ceil(refusal.retry_after))
            headers["retry-after-ms"] = str(math.ceil(refusal.retry_after * 1_000))
        body = self.complaint(refusal)
        return web.Response(status=refusal.status, body=body, headers=headers, content_type="application/json")

    def headers(self, told: Told) -> dict[str, str]:
        """The headers that OpenAI adds to an answer."""
        return {"x-request-id": f"req_{told.ordinal:032x}", "openai-version": "2020-10-01", "Cache-Control": "no-cache"}

    def complaint(self, refusal: Refusal) -> bytes:
        """The error object."""
        error = {"message": refusal.message, "type": refusal.kind, "param": refusal.param, "code": refusal.code}
        return msgspec.json.encode({"error": error})

    def body(self, told: Told) -> bytes:
        """A `chat.completion`."""
        choice = {
            "index": 0,
            "message": self.message(told),
            "logprobs": None,
            "finish_reason": finish_reason(told),
        }
        usage = {"usage": self.usage(told.usage)} if told.usage else {}
        return msgspec.json.encode({**self.head(told, "chat.completion"), "choices": [choice], **usage})

    def wire(self, told: Told) -> Wire:
        """The `chat.completion.chunk` events."""
        return ChatWire(self, told)

    def message(self, told: Told) -> dict[str, Any]:
        """The assistant's message of a JSON answer."""
        return {**spoken(told), "refusal": None, "annotations": []}

    def usage(self, usage: Usage) -> dict[str, Any]:
        """The usage object: cached and written tokens are part of the prompt's, reasoning is part of the completion's."""
        return {
            "prompt_tokens": usage.prompt,
            "completion_tokens": usage.output,
            "total_tokens": usage.total,
            "prompt_tokens_details": {
                "cached_tokens": usage.cached,
                "cache_write_tokens": usage.written,
                "audio_tokens": 0,
            },
            "completion_tokens_details": {
                "reasoning_tokens": usage.reasoning,
                "audio_tokens": 0,
                "accepted_prediction_tokens": 0,
                "rejected_prediction_tokens": 0,
            },
        }

    def head(self, told: Told, kind: str) -> dict[str, Any]:
        """The fields that every chunk and every completion begin with."""
        return {
            "id": f"chatcmpl-{told.ordinal:029d}",
            "object": kind,
            "created": int(time.time()),
            "model": told.question.model,
            "service_tier": told.tier,
            "system_fingerprint": "fp_simulated",
        }


def check_bearer(request: web.Request) -> None:
    """Require a bearer key, whichever; raises `Refusal`."""
    scheme, _, key = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not key.strip():
        message = "You didn't provide an API key. You need to provide your API key in an Authorization header."
        raise Refusal(401, None, message, "invalid_request_error")


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
