"""Whether a model thinks when it answers. Many think unless they are told not to: the row's `thinking` says what the vendor
is told where the caller says nothing, so that these are served as plain chat models.
"""

from __future__ import annotations

from shared.catalogue.models import Model
from shared.chat import ReasoningEffort

ALWAYS_TAKEN = frozenset({"openai-responses", "gemini"})
SHOWN = frozenset({"openai-responses", "deepseek-chat", "gemini"})
ENCRYPTED = ("openai.gpt-5", "openai.gpt-6")
"""Parts of the vendor's ids of models of Converse that show nothing of what they think."""
OFF = frozenset({"none", "disabled", "between_tools", "off"})
"""Told between calls of tools only, Claude does not think in a chat without them."""


def thinks(model: Model, effort: ReasoningEffort | None) -> bool:
    """Whether it does when it is asked with this effort; None is not asked."""
    return model.reasoning and (effort or model.thinking) not in OFF


def shows_thoughts(model: Model) -> bool:
    """Whether its vendor shows anything of what it thinks, be it a summary: OpenAI's models do by the Responses API only, and
    on Bedrock theirs come encrypted. Of a vendor at an operator's own address nothing is known.
    """
    if model.api == "bedrock-converse":
        return not any(part in model.upstream for part in ENCRYPTED)
    return model.api in SHOWN or model.base_url is not None


def takes_thoughts_back(model: Model, effort: ReasoningEffort | None) -> bool:
    """Whether its vendor is sent what it thought in earlier turns: while it may think. OpenAI and Gemini take it always."""
    return model.api in ALWAYS_TAKEN or thinks(model, effort) or model.thinking == "between_tools"


def bills_to_the_end(model: Model, effort: ReasoningEffort | None) -> bool:
    """Whether its vendor bills the whole answer although the call is cancelled: a model that can think only while it does."""
    return model.bills_to_the_end and (thinks(model, effort) or not model.reasoning)
