"""A model in the form of OpenAI's API."""

from __future__ import annotations

from datetime import date
from typing import Literal

import msgspec

from shared.catalogue.models import Model


class OpenAIModel(msgspec.Struct, frozen=True, kw_only=True):
    """A model in OpenAI's form; prices and abilities are in `GET /api/models`."""

    id: str
    """The public name, for the field `model` of a request."""
    object: Literal["model"] = "model"
    created: int = 0
    """Always 0: the catalogue does not know when a model was made."""
    owned_by: str
    """The company that made the model."""
    shutdown_date: date | None
    """The last day on which the vendor serves the model; null if no end is announced."""


class OpenAIModels(msgspec.Struct, frozen=True, kw_only=True):
    """All models, on one page."""

    object: Literal["list"] = "list"
    data: list[OpenAIModel]
    """The models, in the catalogue's order."""


def openai_model(model: Model) -> OpenAIModel:
    """The model in OpenAI's form, under its public name."""
    return OpenAIModel(id=model.name, owned_by=model.company, shutdown_date=model.ends_on)
