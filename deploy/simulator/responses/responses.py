"""OpenAI's Responses API: `POST /v1/responses` as JSON and SSE. It stores nothing, so no response can be continued by
its id.

Facts from OpenAI's API reference, openai-python 3.54 and errors as users report them (read 2026-11).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from aiohttp import web

from deploy.simulator import answer
from deploy.simulator.acts import Wire
from deploy.simulator.caching import Prompt
from deploy.simulator.exchange import Question, Refusal, Told, fault_refusal, serve
from deploy.simulator.openai.caching import check_caching, policy_of
from deploy.simulator.openai.chat import NO_JSON, OPENAI_CHAT, check_bearer
from deploy.simulator.openai.models import MODELS, Model
from deploy.simulator.openai.rules import ABOVE_LIMIT, FULL, NO_CREDIT, REFUSALS, RETIRED, WRONG_KEY
from deploy.simulator.openai.values import INVALID
from deploy.simulator.responses.answers import Items, response
from deploy.simulator.responses.body import ResponsesRequest, asked_of, talk_of, texts_of
from deploy.simulator.responses.caching import breakpoints_of, pieces_of
from deploy.simulator.responses.items import check_items
from deploy.simulator.responses.known import check_known
from deploy.simulator.responses.rules import BLOCKED, check_body, thinks
from deploy.simulator.responses.wire import ResponsesWire


class OpenAIResponses:
    """The dialect of `/v1/responses`."""

    api = "openai-responses"
    stream_type = "text/event-stream; charset=utf-8"
    refusals: Mapping[int, Refusal] = REFUSALS
    wrong_key: Refusal = WRONG_KEY
    no_credit: Refusal = NO_CREDIT
    retired: Refusal = RETIRED
    blocked: Refusal | None = BLOCKED
    above_limit: Refusal | None = ABOVE_LIMIT

    def read(self, request: web.Request, raw: bytes) -> Question:
        """Understand a request; raises `Refusal` without a bearer key or for a body of another form."""
        check_bearer(request)
        body = _parsed(request, raw)
        model = MODELS.get(body.model)
        images = sum(part.type == "input_image" for item in body.items for part in item.parts())
        return Question(
            model=model.name if model else body.model,
            talk=talk_of(body.items),
            prompt_tokens=answer.prompt_tokens(texts_of(body), images),
            limit=body.max_output_tokens or (model.output_max if model else 0),
            stream=bool(body.stream),
            body=body,
            asked=asked_of(body),
            thinks=model is not None and thinks(body, model),
            tier="flex" if body.service_tier == "flex" else "",
            full=FULL if body.service_tier == "flex" else None,
            prompt=_prompt(body, model, request.headers["Authorization"]) if model else None,
        )

    def check(self, question: Question) -> None:
        """Check a request against the rules of its model; raises `Refusal`."""
        model = check_body(question.body, MODELS.get(question.body.model), question.prompt_tokens)
        check_items(question.body, model)
        check_caching(question.body, breakpoints_of(question.body), model)

    def refuse(self, refusal: Refusal) -> web.Response:
        """A refusal, as all of OpenAI's APIs do."""
        return OPENAI_CHAT.refuse(refusal)

    def headers(self, told: Told) -> dict[str, str]:
        """The headers that OpenAI adds to an answer."""
        return OPENAI_CHAT.headers(told)

    def complaint(self, refusal: Refusal) -> bytes:
        """The error object."""
        return OPENAI_CHAT.complaint(refusal)

    def body(self, told: Told) -> bytes:
        """A `response`."""
        return msgspec.json.encode(response(Items(told)))

    def wire(self, told: Told) -> Wire:
        """The events of a response."""
        return ResponsesWire(told, fault_refusal(self, told.script))


def _prompt(body: ResponsesRequest, model: Model, key: str) -> Prompt:
    """The prompt for the vendor's cache."""
    owner = f"{OPENAI_RESPONSES.api} {model.name} {key}".encode()
    return Prompt(owner, lambda: pieces_of(body, model), policy_of(model))


def _parsed(request: web.Request, raw: bytes) -> ResponsesRequest:
    """Read the body; raises `Refusal` for what is no JSON, and for fields and types that OpenAI does not know."""
    if "json" not in request.content_type:
        raise Refusal(400, None, "you must provide a model parameter", INVALID)
    try:
        check_known(msgspec.json.decode(raw, type=dict[str, Any]))
        return msgspec.json.decode(raw, type=ResponsesRequest)
    except msgspec.ValidationError as error:
        words, _, where = str(error).partition(" - at `$.")
        raise Refusal(400, "invalid_type", f"Invalid type for '{where[:-1]}': {words}", INVALID, where[:-1]) from None
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise Refusal(400, None, NO_JSON, INVALID) from None


async def responses(request: web.Request) -> web.StreamResponse:
    """Serve `POST /v1/responses`."""
    return await serve(request, OPENAI_RESPONSES)


OPENAI_RESPONSES = OpenAIResponses()
