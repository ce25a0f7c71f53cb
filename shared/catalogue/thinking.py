"""Whether a model thinks when it answers. Many think unless they are told not to: the row's `thinking` says what the vendor
is told where the caller says nothing, so that these are served as plain chat models.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from shared.catalogue.models import Model
from shared.chat import Message, ReasoningEffort
from shared.thoughts import Thought

ALWAYS_TAKEN = frozenset({"openai-responses", "gemini"})
OFF = frozenset({"none", "disabled", "between_tools", "off"})
"""Told between calls of tools only, Claude does not think in a chat without them."""
BUDGET_MIN = 1_024
"""Tokens: a Claude that counts its thinking refuses less."""
ANSWER_SHARE = 4
"""A part of the output limit that thinking leaves for the answer, as one over this."""


def thinks(model: Model, effort: ReasoningEffort | None) -> bool:
    """Whether it does when it is asked with this effort; None is not asked."""
    return model.reasoning and (effort or model.thinking) not in OFF


def takes_thoughts_back(model: Model, effort: ReasoningEffort | None) -> bool:
    """Whether its vendor is sent what it thought in earlier turns: while it may think. OpenAI and Gemini take it always."""
    return model.api in ALWAYS_TAKEN or thinks(model, effort) or model.thinking == "between_tools"


def bills_to_the_end(model: Model, effort: ReasoningEffort | None) -> bool:
    """Whether its vendor bills the whole answer although the call is cancelled: a model that can think only while it does."""
    return model.bills_to_the_end and (thinks(model, effort) or not model.reasoning)


def counts_thinking(model: Model) -> bool:
    """Whether its vendor is told how many tokens it may think, and not how hard."""
    return "anthropic." in model.upstream and "-4-5-" in model.upstream


def thinking_room(output_limit: int) -> int:
    """How many tokens of the output limit may be thought."""
    return output_limit - output_limit // ANSWER_SHARE


def may_begin(messages: Sequence[Message], is_signed: Callable[[Thought], bool]) -> bool:
    """Whether a Claude that counts its thinking can go on with this talk while it thinks: not from an answer that has begun,
    nor from calls before which there is no thought of its own. It says: "Expected `thinking` or `redacted_thinking`, but
    found `tool_use`. When `thinking` is enabled, a final `assistant` message must start with a thinking block"
    (github.com/anomalyco/opencode/issues/3077, read 2026-11).
    """
    if messages[-1].role == "assistant":
        return False
    if messages[-1].role != "tool":
        return True
    last = next((message for message in reversed(messages) if message.role == "assistant"), None)
    first = [one for one in last.thoughts if not one.after_text and not one.after_calls] if last else []
    return any(is_signed(thought) for thought in first)
