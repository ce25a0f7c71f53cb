"""Decides whether a model thinks when it answers. Many models think unless they are told not to. The row's `thinking`
is what the vendor is told if the caller asks for nothing, so that such a model is served as a plain chat model.
"""

from __future__ import annotations

from shared.catalogue.models import Model
from shared.chat import ReasoningEffort

ALWAYS_TAKEN = frozenset({"openai-responses", "gemini"})
SHOWN = frozenset({"openai-responses", "deepseek-chat", "gemini"})
ENCRYPTED = ("openai.gpt-5", "openai.gpt-6")
"""Parts of the ids of Converse's models that show nothing of their thoughts."""
OFF = frozenset({"none", "disabled", "between_tools", "off"})
"""Values with which a model does not think in a chat without tools; `between_tools` makes Claude think between calls only.
"""


def thinks(model: Model, effort: ReasoningEffort | None) -> bool:
    """True if the model thinks if it is asked with this effort; None means that no effort was asked for."""
    return model.reasoning and (effort or model.thinking) not in OFF


def shows_thoughts(model: Model) -> bool:
    """True if the vendor shows the model's thoughts, at least as a summary. OpenAI does so by the Responses API only; its
    models on Bedrock encrypt them. Nothing is known of a vendor at an operator's own address.
    """
    if model.api == "bedrock-converse":
        return not any(part in model.vendor_model for part in ENCRYPTED)
    return model.api in SHOWN or model.base_url is not None


def takes_thoughts_back(model: Model, effort: ReasoningEffort | None) -> bool:
    """True if the vendor is sent the thoughts of earlier turns. It is while the model may think; OpenAI and Gemini are
    sent them always.
    """
    return model.api in ALWAYS_TAKEN or thinks(model, effort) or model.thinking == "between_tools"


def bills_to_the_end(model: Model, effort: ReasoningEffort | None) -> bool:
    """True if the vendor bills the whole answer even if the call is cancelled. For a model that need not think, this
    holds only while it thinks.
    """
    return model.bills_to_the_end and (thinks(model, effort) or not model.reasoning)
