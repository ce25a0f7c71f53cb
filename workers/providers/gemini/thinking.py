"""How Gemini is told to think, and what it thought: from Gemini 3 on a level and signatures, before that a number of tokens.

Sources, read 2026-11: ai.google.dev/gemini-api/docs/thinking and …/thought-signatures; what an effort means in tokens:
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
"""Of 2.5 Flash-Lite, the only model that is told a number."""
COUNTS_TOKENS = "off"
"""What a row says of a model that thinks only when it is told how much."""
UNSIGNED = b"skip_thought_signature_validator"
"""What stands for the signature of a thought that did not come back: from Gemini 3 on a call in the history needs one."""


def thinking_config(request: ProviderRequest) -> types.ThinkingConfig | None:
    """None where the model does what it does unasked."""
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
    """The parts with each signature at its call. An API that has no field for it tells it as a thought before the call."""
    apart: str | None = None
    for part in parts:
        if isinstance(part, ToolCall) and apart and not part.signature:
            yield msgspec.structs.replace(part, signature=apart)
        else:
            yield part
        apart = part.signature if isinstance(part, Thought) else None


def signatures_of(parts: Sequence[Spoken], *, needed: bool) -> list[bytes | None]:
    """The signature of each part: those of calls as they were given, or where one is `needed` and none came back what stands
    for it. Google wants those of calls back, and those of texts it only recommends (ai.google.dev/gemini-api/docs/
    thought-signatures, read 2026-11): they come when a text has ended, so a caller would get each as a thought behind it,
    and clients take the last block of an answer for what it says.
    """
    calls = [part for part in parts if isinstance(part, ToolCall)]
    absent = UNSIGNED if needed and not any(call.signature for call in calls) else None
    return [_signature(part, absent) if isinstance(part, ToolCall) else None for part in parts]


def _signature(call: ToolCall, absent: bytes | None) -> bytes | None:
    return base64.b64decode(call.signature) if call.signature else absent


def _budget(request: ProviderRequest, effort: ReasoningEffort) -> int:
    """Thoughts are a part of the output limit, and leave room for the answer."""
    wanted = request.sampling.thinking_budget or BUDGETS.get(effort, BUDGET_MAX)
    return max(min(wanted, BUDGET_MAX, thinking_room(request.output_limit)), BUDGET_MIN)
