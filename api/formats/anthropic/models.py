"""A model in the form of Anthropic's API (anthropic 2.13, read 2026-11)."""

from __future__ import annotations

from datetime import date
from typing import Literal

import msgspec

from shared.catalogue.models import Catalogue, Model

UNKNOWN_TIME = "1970-01-01T00:00:00Z"
"""The epoch, with which Anthropic's API says that the time is unknown."""
Stage = Literal["active", "deprecated", "retired"]
STAGES: dict[str, Stage] = {"active": "active", "legacy": "deprecated", "retired": "retired"}


class AnthropicModel(msgspec.Struct, frozen=True, kw_only=True):
    """A model in Anthropic's form. Its limits and `lifecycle` are those of the model that serves the name."""

    type: Literal["model"] = "model"
    id: str
    """The public name, for the field `model` of a request."""
    display_name: str
    """The public name, the same as `id`."""
    created_at: str = UNKNOWN_TIME
    """Always the epoch: the catalogue does not know when a model was made."""
    max_input_tokens: int
    """The tokens of the context window."""
    max_tokens: int
    """The most output tokens of one answer."""
    lifecycle: Stage
    """`active`, `deprecated` (the vendor advises another model) or `retired`."""
    retires_at: str | None
    """The beginning of the day (UTC) on which the vendor ends the model; null if no end is announced."""


class AnthropicModels(msgspec.Struct, frozen=True, kw_only=True):
    """A page of models; without `limit` it has all of them."""

    data: list[AnthropicModel]
    """The models of this page."""
    has_more: bool
    """True if there are more models in the direction of the page: later ones, or earlier ones with `before_id`."""
    first_id: str | None
    """The id of the first model on the page; null on an empty page."""
    last_id: str | None
    """The id of the last model on the page; null on an empty page."""


def anthropic_model(model: Model, catalogue: Catalogue) -> AnthropicModel:
    """The model in Anthropic's form, under its public name."""
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
