"""Google's Gemini Developer API: `generateContent`, and `streamGenerateContent` as SSE and as one JSON array.

Source: the Gemini API reference (v1beta) and Google's error model (google.rpc).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal

import msgspec
from aiohttp import web

from deploy.simulator import answer
from deploy.simulator.acts import Wire
from deploy.simulator.caching import Prompt
from deploy.simulator.exchange import Question, Refusal, Told, fault_refusal, serve
from deploy.simulator.gemini.caching import pieces_of, policy_of
from deploy.simulator.gemini.contents import check_contents
from deploy.simulator.gemini.models import MODELS, Model
from deploy.simulator.gemini.schemas import check_json
from deploy.simulator.gemini.signatures import check_signatures
from deploy.simulator.gemini.tools import Content, FunctionTool, ToolConfig, asked_of, check_tools, text_of, texts_of
from deploy.simulator.gemini.values import GenerationConfig, check_thinking, check_values, thinks
from deploy.simulator.gemini.wire import (
    GeminiWire,
    blocked_json,
    call_json,
    finish_reason,
    proof_of_text,
    tail_json,
    thoughts_json,
    tier_json,
    usage_json,
)
from deploy.simulator.script import Said
from deploy.simulator.tools import ANY_JSON

DETAIL = "type.googleapis.com/google.rpc"


class GenerateRequest(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    """The fields of the API; fields of type `Any` are not checked."""

    contents: list[Content]
    system_instruction: Content | None = None
    generation_config: GenerationConfig = msgspec.field(default_factory=GenerationConfig)
    tools: list[FunctionTool] = []
    tool_config: ToolConfig | None = None
    service_tier: Literal["unspecified", "standard", "flex", "priority"] | None = None
    safety_settings: Any = None
    cached_content: Any = None


class Gemini:
    """The dialect of `/{version}/models/{model}:…`; `form` is the framing of a stream."""

    api = "gemini"
    blocked: Refusal | None = None  # reported in a 200, see `body` and `opening`
    above_limit: Refusal | None = None
    retired = Refusal(
        404,
        "NOT_FOUND",
        "The model is not found for API version v1beta, or is not supported for generateContent. Call ListModels to "
        "see the list of available models and their supported methods.",
    )
    wrong_key = Refusal(
        400, "INVALID_ARGUMENT", "API key not valid. Please pass a valid API key.", kind="API_KEY_INVALID"
    )
    no_credit = Refusal(
        429,
        "RESOURCE_EXHAUSTED",
        "Your prepayment credits are depleted. Please go to AI Studio at https://ai.studio/projects to manage your project "
        "and billing.",
    )
    refusals: Mapping[int, Refusal] = {
        400: Refusal(400, "INVALID_ARGUMENT", "Request contains an invalid argument."),
        401: Refusal(401, "UNAUTHENTICATED", "Request had invalid authentication credentials."),
        402: Refusal(429, "RESOURCE_EXHAUSTED", "You exceeded your current quota, please check your plan and billing."),
        403: Refusal(403, "PERMISSION_DENIED", "The caller does not have permission."),
        404: retired,
        408: Refusal(504, "DEADLINE_EXCEEDED", "The request timed out. Please try again."),
        422: Refusal(400, "FAILED_PRECONDITION", "User location is not supported for the API use."),
        424: Refusal(500, "INTERNAL", "An internal error has occurred."),
        429: Refusal(429, "RESOURCE_EXHAUSTED", "Resource has been exhausted (e.g. check quota)."),
        500: Refusal(500, "INTERNAL", "An internal error has occurred."),
        502: Refusal(502, "UNAVAILABLE", "Bad gateway."),
        503: Refusal(503, "UNAVAILABLE", "The model is overloaded. Please try again later."),
    }

    def __init__(self, form: Literal["sse", "array"]) -> None:
        self.sse = form == "sse"
        self.stream_type = "text/event-stream" if self.sse else "application/json; charset=UTF-8"

    def read(self, request: web.Request, raw: bytes) -> Question:
        """Understand a request; raises `Refusal` without a key or for a body that is not Gemini's JSON."""
        if not (request.headers.get("x-goog-api-key") or request.query.get("key")):
            raise Refusal(403, "PERMISSION_DENIED", "Method doesn't allow unregistered callers. Please use API Key.")
        try:
            body = msgspec.json.decode(raw, type=GenerateRequest)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise _unreadable(error) from None
        name = request.match_info["model"]
        model = MODELS.get(name)
        flex = body.service_tier == "flex"
        contents = ([body.system_instruction] if body.system_instruction else []) + body.contents
        texts = [text_of(content) for content in contents] + texts_of(body.contents, body.tools)
        images = sum(part.inline_data is not None for content in contents for part in content.parts)
        return Question(
            model=name,
            talk=tuple(Said("model" if turn.role == "model" else "user", text_of(turn)) for turn in body.contents),
            prompt_tokens=answer.prompt_tokens(texts, images),
            limit=body.generation_config.max_output_tokens or (model.output_max if model else 0),
            stops=tuple(body.generation_config.stop_sequences),
            stream="stream" in request.match_info["method"],
            body=body,
            asked=asked_of(body.contents, body.tools, body.tool_config, _schema(body.generation_config)),
            thinks=model is not None and thinks(body.generation_config, model),
            tier="flex" if flex else "",
            full=self.refusals[503] if flex else None,
            prompt=_prompt(request, model, contents, body.tools) if model else None,
        )

    def check(self, question: Question) -> None:
        """Check a request against the model's rules; raises `Refusal`."""
        model = MODELS.get(question.model)
        if model is None:
            raise self.retired
        body: GenerateRequest = question.body
        if question.tier == "flex" and not model.flex:
            raise _invalid(f"Flex API is not supported for model: {model.name}.")
        check_contents(body.contents, body.system_instruction)
        check_values(body.generation_config, model, stream=question.stream)
        check_thinking(body.generation_config, model)
        check_tools(body.contents, body.tools, body.tool_config)
        check_signatures(body.contents, model)
        _check_form(body, model)
        if question.prompt_tokens > model.context:
            raise _invalid(
                f"The input token count ({question.prompt_tokens}) exceeds the maximum number of tokens allowed "
                f"({model.context})."
            )

    def refuse(self, refusal: Refusal) -> web.Response:
        """A refusal in Google's error model; the retry hint is a detail of it."""
        return web.Response(status=refusal.status, body=self.complaint(refusal), content_type="application/json")

    def complaint(self, refusal: Refusal) -> bytes:
        """The error object."""
        error: dict[str, Any] = {"code": refusal.status, "message": refusal.message, "status": refusal.code}
        details: list[dict[str, str]] = []
        if refusal.kind:
            details.append({"@type": f"{DETAIL}.ErrorInfo", "reason": refusal.kind, "domain": "googleapis.com"})
        if refusal.retry_after:
            details.append({"@type": f"{DETAIL}.RetryInfo", "retryDelay": f"{round(refusal.retry_after, 3):g}s"})
        if details:
            error["details"] = details
        return msgspec.json.encode({"error": error})

    def headers(self, told: Told) -> dict[str, str]:
        """Google's own headers of an answer."""
        return {"Server-Timing": "gfet4t7; dur=1", "x-goog-request-id": f"{told.ordinal:x}"}

    def body(self, told: Told) -> bytes:
        """The whole answer."""
        if told.script.fault == "blocked":
            return msgspec.json.encode(blocked_json(told))
        parts = thoughts_json(told)
        parts += [{"text": told.reply.text, **proof_of_text(told)}] if told.reply.text else []
        parts += [call_json(told, place) for place in range(len(told.reply.calls))]
        candidate = {"content": {"parts": parts, "role": "model"}, "finishReason": finish_reason(told), "index": 0}
        usage = {"usageMetadata": usage_json(told.usage) | tier_json(told)} if told.usage else {}
        return msgspec.json.encode({"candidates": [candidate], **usage, **tail_json(told)})

    def wire(self, told: Told) -> Wire:
        """The answer in parts."""
        error = self.complaint(fault_refusal(self, told.script))
        return GeminiWire(told, error, sse=self.sse)


async def generate(request: web.Request) -> web.StreamResponse:
    """Serve `POST /gemini/{version}/models/{model}:generateContent` and `:streamGenerateContent`."""
    return await serve(request, GEMINI_SSE if request.query.get("alt") == "sse" else GEMINI_ARRAY)


def _prompt(request: web.Request, model: Model, contents: list[Content], tools: list[FunctionTool]) -> Prompt | None:
    policy = policy_of(model)
    key = request.headers.get("x-goog-api-key") or request.query["key"]
    owner = f"{model.name} {key}".encode()
    return Prompt(owner, lambda: pieces_of(contents, tools), policy) if policy else None


def _schema(config: GenerationConfig) -> dict[str, Any] | None:
    if config.response_mime_type != "application/json":
        return None
    return ANY_JSON if config.response_json_schema is None else config.response_json_schema


def _unreadable(error: Exception) -> Refusal:
    found = re.match(r"Object contains unknown field `(?P<name>.*?)`(?: - at `\$\.(?P<where>.*)`)?", str(error))
    if found is None:
        return _invalid(f"Invalid JSON payload received. {error}")
    where = f" at '{found['where']}'" if found["where"] else ""
    return _invalid(f'Invalid JSON payload received. Unknown name "{found["name"]}"{where}: Cannot find field.')


def _check_form(body: GenerateRequest, model: Model) -> None:
    config = body.generation_config
    if config.response_json_schema is not None:
        check_json(config.response_json_schema, "generation_config.response_json_schema")
    if config.response_json_schema is not None and config.response_mime_type != "application/json":
        raise _invalid("* GenerateContentRequest.generation_config.response_json_schema: needs `application/json`.")
    if config.response_mime_type == "application/json" and body.tools and not model.is_new:
        raise _invalid("Function calling with a response mime type: 'application/json' is unsupported")


def _invalid(message: str) -> Refusal:
    return Refusal(400, "INVALID_ARGUMENT", message)


GEMINI_SSE = Gemini("sse")
GEMINI_ARRAY = Gemini("array")
