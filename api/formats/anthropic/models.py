"""A model as Anthropic's API lists it (anthropic 2.13, read 2026-11)."""

from __future__ import annotations

from datetime import date
from typing import Literal

import msgspec

from shared.catalogue.models import Catalogue, Model

UNKNOWN_TIME = "1970-01-01T00:00:00Z"
"""The catalogue does not know when a model was made; Anthropic's API says the epoch then."""
Stage = Literal["active", "deprecated", "retired"]
STAGES: dict[str, Stage] = {"active": "active", "legacy": "deprecated", "retired": "retired"}


class AnthropicModel(msgspec.Struct, frozen=True, kw_only=True):
    """`created_at` is the epoch: the catalogue does not know it. Limits and `lifecycle` are those of the model that serves
    the name; `retires_at` is the beginning of that day.
    """

    type: Literal["model"] = "model"
    id: str
    display_name: str
    created_at: str = UNKNOWN_TIME
    max_input_tokens: int
    max_tokens: int
    lifecycle: Stage
    retires_at: str | None


class AnthropicModels(msgspec.Struct, frozen=True, kw_only=True):
    """A page; without `limit` all of them."""

    data: list[AnthropicModel]
    has_more: bool
    first_id: str | None
    last_id: str | None


def anthropic_model(model: Model, catalogue: Catalogue) -> AnthropicModel:
    """By its public name."""
    served = catalogue.serving(model.name)
    return AnthropicModel(
        id=model.name,
        display_name=model.name,
        max_input_tokens=served.context_window,
        max_tokens=served.max_output_tokens,
        lifecycle=STAGES[served.lifecycle],
        retires_at=_midnight(served.ends_on),
    )


def _midnight(day: date | None) -> str | None:
    return None if day is None else f"{day}T00:00:00Z"
