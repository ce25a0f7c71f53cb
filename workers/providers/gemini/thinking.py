"""Gemini's fields for thinking, and its thoughts. From Gemini 3 on, thinking has a level and thoughts have signatures;
before, thinking has a number of tokens.

Sources, read 2026-11: ai.google.dev/gemini-api/docs/thinking and …/thought-signatures; the tokens of each effort:
ai.google.dev/gemini-api/docs/openai.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence

import msgspec
from google.genai import types

from shared.catalogue.room_to_think import thinking_room
from shared.catalogue.thinking import thinks
from shared.chat import ReasoningEffort, ToolCall
from shared.thoughts import Thought
from workers.providers.protocol import ProviderRequest
from workers.providers.wire.conversation import Spoken

BUDGETS: dict[ReasoningEffort, int] = {"minimal": 512, "low": 1_024, "medium": 8_192}
BUDGET_MIN, BUDGET_MAX = 512, 24_576
"""Smallest and largest budget of 2.5 Flash-Lite, the only model that is told a number."""
COUNTS_TOKENS = "off"
"""The row's `thinking` of a model that thinks only if it is told a number of tokens."""
UNSIGNED = b"skip_thought_signature_validator"
"""Replaces the missing signature of a call in the history, which Gemini requires from version 3 on."""


def thinking_config(request: ProviderRequest) -> types.ThinkingConfig | None:
    """The configuration; None if the model's default is wanted."""
    model, sampling = request.model, request.sampling
    effort = None if sampling.reasoning_effort == "none" else sampling.reasoning_effort
    shows = True if sampling.shows_thoughts and thinks(model, sampling.reasoning_effort) else None
    if model.thinking == COUNTS_TOKENS:
        return (
            types.ThinkingConfig(thinking_budget=_budget(request, effort), include_thoughts=shows) if effort else None
        )
    level = effort or model.thinking
    if level is None and shows is None:
        return None
    told = types.ThinkingLevel(level.upper()) if level else None
    return types.ThinkingConfig(thinking_level=told, include_thoughts=shows)


def with_signatures(parts: Sequence[Spoken]) -> Iterator[Spoken]:
    """The parts, with each signature at its call. An API without a field for it sends it as a thought before the call."""
    apart: str | None = None
    for part in parts:
        if isinstance(part, ToolCall) and apart and not part.signature:
            yield msgspec.structs.replace(part, signature=apart)
        else:
            yield part
        apart = part.signature if isinstance(part, Thought) else None


def signatures_of(parts: Sequence[Spoken], *, needed: bool) -> list[bytes | None]:
    """The signature of each part. Calls have theirs as it was given, or `UNSIGNED` if one is `needed` and missing.

    Google requires the signatures of calls and only recommends those of texts
    (ai.google.dev/gemini-api/docs/thought-signatures, read 2026-11). The latter arrive when a text has ended, so a caller
    would get each as a thought behind the text, and clients take the last block for the answer.
    """
    calls = [part for part in parts if isinstance(part, ToolCall)]
    absent = UNSIGNED if needed and not any(call.signature for call in calls) else None
    return [_signature(part, absent) if isinstance(part, ToolCall) else None for part in parts]


def _signature(call: ToolCall, absent: bytes | None) -> bytes | None:
    return base64.b64decode(call.signature) if call.signature else absent


def _budget(request: ProviderRequest, effort: ReasoningEffort) -> int:
    """The thinking budget. Thoughts are a part of the output limit, and leave room for the answer."""
    wanted = request.sampling.thinking_budget or BUDGETS.get(effort, BUDGET_MAX)
    return max(min(wanted, BUDGET_MAX, thinking_room(request.output_limit)), BUDGET_MIN)
