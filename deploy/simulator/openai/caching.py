"""OpenAI's and DeepSeek's caches of prompts, and refusals of hints for them.

Sources, read 2026-11: openai-python 3.54 (`PromptCacheOptions`, `PromptCacheBreakpoint`, `prompt_cache_retention`) and
developers.openai.com/api/docs/guides/prompt-caching; api-docs.deepseek.com/guides/kv_cache. A client found that marks
in the assistant's messages are ignored (opencode-cache-manager, 2026).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import msgspec

from deploy.simulator.caching import Piece, Policy, Spoken, picture, rest
from deploy.simulator.exchange import Refusal
from deploy.simulator.openai.body import Breakpoint, CacheOptions, ChatRequest, Message
from deploy.simulator.openai.models import Model
from deploy.simulator.openai.values import INVALID

SHORT_S, LONG_S = 1_800, 43_200
KEY_LENGTH_MAX, MARKS_MAX = 64, 4
IN_STEPS = Policy(minimum=1_024, step=128)
AT_MARKS = Policy(minimum=1_024, bills_writes=True)
DEEPSEEK = Policy(minimum=64, step=64, kept_s=3_600)
RETAINED = ("gpt-4.1", "gpt-5")


class Hinted(Protocol):
    """A request with cache hints."""

    prompt_cache_key: str | None
    prompt_cache_options: CacheOptions | None
    prompt_cache_retention: Any


def pieces_of(body: ChatRequest, schema: bytes | None, model: Model) -> list[Piece]:
    """The prompt in the vendor's order. A model that keeps what is marked has a mark of its own at the end, unless the
    request says that only the caller's marks count.
    """
    pieces = [rest(msgspec.json.encode(tool)) for tool in body.tools or ()]
    pieces += [rest(schema)] if schema else []
    for message in body.messages:
        pieces += _spoken(message)
    return with_marks_that_count(pieces, body) if model.breakpoints else pieces


def policy_of(model: Model) -> Policy:
    """The rules by which OpenAI caches the model's prompts."""
    return AT_MARKS if model.breakpoints else IN_STEPS


def breakpoints_of(body: ChatRequest) -> list[Breakpoint]:
    """The marks of a chat's messages."""
    parts = [part for one in body.messages if isinstance(one.content, list) for part in one.content]
    return [part.prompt_cache_breakpoint for part in parts if part.prompt_cache_breakpoint]


def check_caching(body: Hinted, breakpoints: Sequence[Breakpoint], model: Model) -> None:
    """Check hints for the cache against the model's rules; raises `Refusal`."""
    if len(body.prompt_cache_key or "") > KEY_LENGTH_MAX:
        words = f"string too long. Expected a string with maximum length {KEY_LENGTH_MAX}"
        raise _refused("string_above_max_length", f"Invalid 'prompt_cache_key': {words}.", "prompt_cache_key")
    options, retention = body.prompt_cache_options, body.prompt_cache_retention
    if options and not model.breakpoints:
        raise _unsupported("prompt_cache_options")
    if options and retention:
        words = "'prompt_cache_retention' cannot be used together with 'prompt_cache_options'."
        raise _refused("invalid_value", words, "prompt_cache_retention")
    if retention and not model.name.startswith(RETAINED):
        raise _unsupported("prompt_cache_retention")
    if retention == "in_memory" and model.retains_always:
        raise _refused("unsupported_value", "'in_memory' is not supported with this model.", "prompt_cache_retention")
    if not model.breakpoints and breakpoints:
        raise _unsupported("prompt_cache_breakpoint")


def _spoken(message: Message) -> Iterator[Piece]:
    spoken = Spoken(message.role)
    yield spoken.opening
    if isinstance(message.content, str):
        yield spoken.text(message.content)
    for part in message.content if isinstance(message.content, list) else ():
        mark = None if message.role == "assistant" else part.prompt_cache_breakpoint
        kept_s = kept_for(mark)
        if part.type == "image_url":
            yield picture(msgspec.json.encode(part.image_url), kept_s)
        else:
            yield spoken.text(part.text, kept_s)
    for call in message.tool_calls or ():
        yield rest((call.function.name + call.function.arguments).encode())


def kept_for(mark: Breakpoint | None) -> int:
    """Seconds for which a mark keeps its prefix; 0 without a mark."""
    return (LONG_S if mark.ttl == "12h" else SHORT_S) if mark else 0


def with_marks_that_count(pieces: list[Piece], body: Hinted) -> list[Piece]:
    """Keep the latest marks; the end of the newest message is one of them."""
    explicit = body.prompt_cache_options is not None and body.prompt_cache_options.mode == "explicit"
    places = [place for place, piece in enumerate(pieces) if piece.kept_s]
    counting = places[-MARKS_MAX:] if explicit else [*places[-MARKS_MAX + 1 :], len(pieces) - 1]
    return [
        msgspec.structs.replace(piece, kept_s=(piece.kept_s or SHORT_S) if place in counting else 0)
        for place, piece in enumerate(pieces)
    ]


def _unsupported(name: str) -> Refusal:
    return _refused("unsupported_parameter", f"Unsupported parameter: '{name}' is not supported with this model.", name)


def _refused(code: str, message: str, param: str) -> Refusal:
    return Refusal(400, code, message, INVALID, param)
