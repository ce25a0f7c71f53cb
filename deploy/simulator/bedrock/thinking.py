"""What Converse's models take in fields of their own, most of it about thinking, and whether they think.

Sources, read 2026-11: AWS's model cards of Claude and GPT, langchain-aws 1.9 and litellm-1.110.
"""

from __future__ import annotations

from typing import Any

from deploy.simulator.bedrock.models import Model
from deploy.simulator.bedrock.rules import invalid
from deploy.simulator.exchange import Refusal


def thinks(fields: dict[str, Any], model: Model) -> bool:
    """Whether the model thinks before it answers; one that does not by itself may be told to."""
    kind, effort = _kind(fields), _effort(fields)
    if kind is not None:
        return kind not in model.off
    return model.thinks and effort != "none"


def check_fields(fields: dict[str, Any], model: Model) -> None:
    """Models refuse what they do not know; raises `Refusal`."""
    if unknown := sorted(set(fields) - set(model.fields)):
        raise _said(f"extraneous key [{unknown[0]}] is not permitted")
    kind, effort = _kind(fields), _effort(fields)
    if kind in {"disabled", "between_tools"} and kind not in model.off:
        raise _said(f"thinking.type: {kind!r} is not supported for this model")
    if effort is not None and effort not in model.efforts:
        known = ", ".join(repr(one) for one in model.efforts)
        raise _said(
            f"Unsupported value: 'reasoning.effort' does not support {effort!r}. Supported values are: {known}."
        )


def _kind(fields: dict[str, Any]) -> str | None:
    thinking = fields.get("thinking")
    return thinking.get("type") if isinstance(thinking, dict) else None


def _effort(fields: dict[str, Any]) -> str | None:
    reasoning = fields.get("reasoning")
    return reasoning.get("effort") if isinstance(reasoning, dict) else None


def _said(words: str) -> Refusal:
    return invalid(f"The model returned the following errors: {words}")
