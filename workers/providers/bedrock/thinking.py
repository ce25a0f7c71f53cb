"""Fields that make Converse's models think: each company has its own field, beside Converse's parameters.

Sources, read 2026-11: docs.aws.amazon.com/bedrock/latest/userguide/claude-messages-adaptive-thinking.html and
…/claude-messages-extended-thinking.html, docs.aws.amazon.com/nova/latest/nova2-userguide, AWS's model cards of GPT,
langchain-aws 1.9, litellm-1.110, @ai-sdk/amazon-bedrock 5.0.
"""

from __future__ import annotations

from typing import Any

from shared.catalogue.room_to_think import can_go_on_thinking, thinking_room
from shared.catalogue.thinking import thinks
from shared.catalogue.vendor_limits import vendor_limits
from shared.chat import ReasoningEffort
from workers.providers.protocol import ProviderRequest

BUDGETS: dict[ReasoningEffort, int] = {"minimal": 1_024, "low": 4_096, "medium": 16_384, "high": 32_768}
BUDGET_MOST = 64_000
"""By effort, the thinking tokens for a model that counts them; a stronger effort means the most."""
FLAT = ("openai.gpt-oss", "moonshotai.", "zai.")
ALWAYS_SUMMARIZED = ("-4-5-", "-4-6")
"""Claude's models that show their thoughts without being asked."""


def thinking_fields(request: ProviderRequest) -> dict[str, Any]:
    """The fields of thinking in `additionalModelRequestFields`; empty if the model's default is wanted."""
    model, effort = request.model, request.sampling.reasoning_effort
    asked = None if effort == "none" else effort
    if "anthropic." in model.vendor_model:
        return _claude(request, asked)
    if "amazon.nova" in model.vendor_model:
        return {"reasoningConfig": {"type": "enabled", "maxReasoningEffort": asked}} if asked else {}
    if any(part in model.vendor_model for part in FLAT):
        return {"reasoning_effort": effort} if effort else {}
    told = effort or model.thinking
    return {"reasoning": {"effort": told}} if told else {}


def _claude(request: ProviderRequest, effort: ReasoningEffort | None) -> dict[str, Any]:
    model = request.model
    shows = request.sampling.shows_thoughts and thinks(model, effort)
    if effort is None and model.thinking is not None:
        return {} if model.thinking == "off" else {"thinking": {"type": model.thinking}}
    if "-4-5-" in model.vendor_model:
        budget = _budget(request, effort) if effort else None
        return {"thinking": {"type": "enabled", "budget_tokens": budget}} if budget else {}
    says_more = shows and not any(part in model.vendor_model for part in ALWAYS_SUMMARIZED)
    adaptive = {"type": "adaptive"} | ({"display": "summarized"} if says_more else {})
    if effort:
        return {"thinking": adaptive, "output_config": {"effort": effort}}
    return {"thinking": adaptive} if says_more else {}


def _budget(request: ProviderRequest, effort: ReasoningEffort) -> int | None:
    """The thinking budget; None if there is no room for it, or if the model cannot continue the conversation while it
    thinks. The front door usually finds that out (`api/requests/model_check.py`), but not if the account's credit has
    lowered the output limit.
    """
    model, least = request.model, vendor_limits(request.model).thinking_tokens_min or 0
    wanted = request.sampling.thinking_budget or BUDGETS.get(effort, BUDGET_MOST)
    budget = min(max(wanted, least), thinking_room(request.output_limit))
    goes_on = can_go_on_thinking(model, request.messages, request.tools, lambda thought: bool(thought.signature))
    return budget if budget >= least and goes_on else None
