"""DeepSeek's chat completions: OpenAI's form with visible reasoning and its own usage, limits and errors.

Source: DeepSeek's API documentation (2025-2026). Both model names of 2025 are gone at the vendor since 2026-07-24; here
they answer unless `fault=retired` asks for the vendor's refusal.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aiohttp import web

from deploy.simulator import answer
from deploy.simulator.acts import Wire
from deploy.simulator.answer import Usage
from deploy.simulator.caching import Policy
from deploy.simulator.exchange import Question, Refusal, Told, serve
from deploy.simulator.openai.body import ChatRequest
from deploy.simulator.openai.caching import DEEPSEEK
from deploy.simulator.openai.chat import OpenAIChat
from deploy.simulator.openai.deepseek_rules import REASONER, check_body, invalid, parsed
from deploy.simulator.openai.deepseek_rules import thinks as thinks_about
from deploy.simulator.openai.models import Model
from deploy.simulator.openai.rules import REFUSALS
from deploy.simulator.openai.values import INVALID
from deploy.simulator.openai.wire import ChatWire, spoken

_MODELS = (
    Model("deepseek-chat", 131_072, 8_192, images=False),
    Model(REASONER, 131_072, 65_536, images=False),
    Model("deepseek-flash", 1_000_000, 393_216),
    Model("deepseek-v4-flash", 1_000_000, 393_216),
    Model("deepseek-v4-pro", 1_000_000, 393_216, images=False),
)
_LIMIT_DEFAULTS = {"deepseek-chat": 4_096, REASONER: 32_768}
_RETIRED = Refusal(400, INVALID, "Model Not Exist", INVALID)


class DeepSeekChat(OpenAIChat):
    """The dialect of `/chat/completions` at DeepSeek."""

    api = "deepseek-chat"
    knows_tiers = False
    models: Mapping[str, Model] = {model.name: model for model in _MODELS}
    refusals: Mapping[int, Refusal] = {
        **REFUSALS,
        401: Refusal(401, INVALID, "Authentication Fails (no such user)", "authentication_error"),
        402: Refusal(402, INVALID, "Insufficient Balance", "unknown_error"),
        429: Refusal(429, INVALID, "Rate limit reached: too many concurrent requests.", "rate_limit_error"),
        503: Refusal(503, INVALID, "Service is too busy. Please retry later.", "service_unavailable_error"),
    }
    wrong_key: Refusal = refusals[401]
    no_credit: Refusal = refusals[402]
    retired: Refusal = _RETIRED
    blocked: Refusal | None = Refusal(400, INVALID, "Content Exists Risk", INVALID)
    above_limit: Refusal | None = None

    def parse(self, request: web.Request, raw: bytes) -> ChatRequest:
        """Read the body; raises `Refusal` if it is no JSON or not of DeepSeek's types. Unknown fields are ignored."""
        if "json" not in request.content_type:
            raise Refusal(415, INVALID, "Expected request with `Content-Type: application/json`", INVALID)
        return parsed(raw)

    def limit(self, body: ChatRequest, model: Model | None) -> int:
        """The output limit in tokens; DeepSeek does not read `max_completion_tokens`."""
        return body.max_tokens or _LIMIT_DEFAULTS.get(body.model, model.output_max if model else 0)

    def check(self, question: Question) -> None:
        """Check a request against DeepSeek's rules; raises `Refusal`."""
        body: ChatRequest = question.body
        model = self.models.get(body.model)
        if model is None:
            raise _RETIRED
        if body.max_tokens is not None and not 1 <= body.max_tokens <= model.output_max:
            raise invalid(f"Invalid max_tokens value, the valid range of max_tokens is [1, {model.output_max}]")
        if question.prompt_tokens > model.context:
            raise invalid(f"This model's maximum context length is {model.context} tokens. Please reduce the length.")
        check_body(body, model)

    def thinks(self, body: ChatRequest, model: Model) -> bool:
        """True if the model thinks before it answers: newer models do unless the request disables it."""
        return thinks_about(body, model)

    def policy(self, model: Model) -> Policy:
        """The policy of DeepSeek's cache: all of a prompt, in units."""
        del model
        return DEEPSEEK

    def head(self, told: Told, kind: str) -> dict[str, Any]:
        """Give OpenAI's head without the service tier."""
        head = super().head(told, kind)
        del head["service_tier"]
        return head

    def message(self, told: Told) -> dict[str, Any]:
        """The assistant's message, with the reasoning where the model thinks."""
        message = spoken(told)
        if thinks(told):
            message["reasoning_content"] = "".join(answer.thoughts(told.reply.reasoning))
        return message

    def usage(self, usage: Usage) -> dict[str, Any]:
        """The usage object. Cached tokens have fields of their own: hits and misses add up to the prompt's tokens."""
        return {
            "prompt_tokens": usage.prompt,
            "completion_tokens": usage.output,
            "total_tokens": usage.total,
            "prompt_tokens_details": {"cached_tokens": usage.cached},
            "completion_tokens_details": {"reasoning_tokens": usage.reasoning},
            "prompt_cache_hit_tokens": usage.cached,
            "prompt_cache_miss_tokens": usage.prompt - usage.cached,
        }

    def wire(self, told: Told) -> Wire:
        """Chunks in which reasoning comes before the answer."""
        return DeepSeekWire(self, told)


class DeepSeekWire(ChatWire):
    """OpenAI's chunks with `reasoning_content` beside `content`; one of the two is null where the model thinks."""

    def __init__(self, dialect: DeepSeekChat, told: Told) -> None:
        super().__init__(dialect, told)
        self._after_text = b',"reasoning_content":null' if thinks(told) else b""
        self._inline = told.script.usage == "inline"

    def opening(self) -> bytes:
        """The role."""
        if thinks(self.told):
            return self.delta(b'"role":"assistant","content":null,"reasoning_content":""')
        return self.delta(b'"role":"assistant","content":""')

    def thought(self, text: bytes) -> bytes:
        """A reasoning delta."""
        return self.delta(b'"content":null,"reasoning_content":' + text)

    def token(self, text: bytes) -> bytes:
        """A content delta."""
        return self.delta(b'"content":' + text + self._after_text)

    def finish(self) -> bytes:
        """The finish reason, with the usage where the script wants it inline."""
        chunk = super().finish()
        if not self._inline:
            return chunk
        return chunk.removesuffix(b"}\n\n").removesuffix(b',"usage":null') + b',"usage":' + self.counts() + b"}\n\n"

    def done(self) -> bytes:
        """The usage, unless it was inline, and `[DONE]`."""
        return b"data: [DONE]\n\n" if self._inline else super().done()


def thinks(told: Told) -> bool:
    """True if the answer shows reasoning."""
    return told.question.thinks or told.reply.reasoning > 0


async def chat_completions(request: web.Request) -> web.StreamResponse:
    """Serve `POST /deepseek/chat/completions`."""
    return await serve(request, DEEPSEEK_CHAT)


DEEPSEEK_CHAT = DeepSeekChat()
