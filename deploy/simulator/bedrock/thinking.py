"""The own fields of Converse's models, mostly about thinking, and whether a model thinks.

Sources, read 2026-11: AWS's guides to Claude's adaptive and extended thinking and to Nova 2, its model cards of Claude
and GPT, langchain-aws 1.9 and litellm-1.110; the texts as users report them.
"""

from __future__ import annotations

from typing import Any

from deploy.simulator.bedrock.models import Model
from deploy.simulator.bedrock.rules import invalid
from deploy.simulator.exchange import Refusal

BUDGET_MIN, TOP_P_MIN = 1_024, 0.95
SWITCHES = ("disabled", "between_tools")


def thinks(fields: dict[str, Any], model: Model) -> bool:
    """True if the model thinks before it answers. A model that does not think by default may be told to."""
    kind = _part(fields, "thinking", "type")
    if kind is not None:
        return kind not in model.off
    if (nova := _part(fields, "reasoningConfig", "type")) is not None:
        return bool(nova == "enabled")
    return model.thinks and _effort(fields) != "none"


def summarizes(fields: dict[str, Any], model: Model) -> bool:
    """True if a model that thinks shows its thoughts."""
    return not model.hides or _part(fields, "thinking", "display") == "summarized"


def check_fields(fields: dict[str, Any], model: Model, limit: int | None) -> None:
    """Raise `Refusal` for fields that the model does not know; `limit` is the output limit in tokens."""
    if unknown := sorted(set(fields) - set(model.fields)):
        raise said(f"extraneous key [{unknown[0]}] is not permitted")
    _check_claude(fields, model, limit)
    effort = _effort(fields)
    if effort is not None and effort not in model.efforts:
        known = ", ".join(repr(one) for one in model.efforts)
        raise said(f"Unsupported value: 'reasoning.effort' does not support {effort!r}. Supported values are: {known}.")
    if _part(fields, "reasoningConfig", "maxReasoningEffort") == "high" and limit is not None:
        raise said("maxTokens must not be set when maxReasoningEffort is high.")


def check_calm(fields: dict[str, Any], model: Model, sampling: tuple[float | None, float | None], choice: str) -> None:
    """Raise `Refusal` for options that exclude thinking. Claude up to 4.6 thinks with its own sampling, and cannot be
    forced to call a tool while it thinks.
    """
    if not model.counts or not thinks(fields, model):
        return
    temperature, top_p = sampling
    if temperature not in {None, 1}:
        raise said("`temperature` may only be set to 1 when thinking is enabled or in adaptive mode.")
    if top_p is not None and top_p < TOP_P_MIN:
        raise said("`top_p` must be greater than or equal to 0.95 or unset when thinking is enabled.")
    if "top_k" in fields:
        raise said("`top_k` must be unset when thinking is enabled.")
    if choice != "auto":
        raise said("Thinking may not be enabled when tool_choice forces tool use.")


def said(words: str) -> Refusal:
    """The refusal of the model itself, which Bedrock passes on."""
    return invalid(f"The model returned the following errors: {words}")


def _check_claude(fields: dict[str, Any], model: Model, limit: int | None) -> None:
    kind, effort = _part(fields, "thinking", "type"), _part(fields, "output_config", "effort")
    known = {"adaptive": bool(model.efforts), "enabled": model.counts, **{one: one in model.off for one in SWITCHES}}
    if kind is not None and not known.get(kind):
        raise said(f"thinking.type: {kind!r} is not supported for this model")
    if effort is not None and effort not in model.efforts:
        raise said(f"output_config.effort: {effort!r} is not supported for this model")
    if kind == "enabled":
        budget = _part(fields, "thinking", "budget_tokens") or 0
        if budget < BUDGET_MIN:
            raise said(f"thinking.enabled.budget_tokens: Input should be greater than or equal to {BUDGET_MIN}")
        if limit is not None and budget >= limit:
            raise said("`max_tokens` must be greater than `thinking.budget_tokens`.")


def _effort(fields: dict[str, Any]) -> Any:  # noqa: ANN401 - as the body has it
    nested = _part(fields, "reasoning", "effort") or _part(fields, "reasoningConfig", "maxReasoningEffort")
    return fields.get("reasoning_effort") or nested


def _part(fields: dict[str, Any], field: str, name: str) -> Any:  # noqa: ANN401 - as the body has it
    value = fields.get(field)
    return value.get(name) if isinstance(value, dict) else None
