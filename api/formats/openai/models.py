"""A model as OpenAI's API lists it."""

from __future__ import annotations

from datetime import date
from typing import Literal

import msgspec

from shared.catalogue.models import Model


class OpenAIModel(msgspec.Struct, frozen=True, kw_only=True):
    """`created` is 0: the catalogue does not know it."""

    id: str
    object: Literal["model"] = "model"
    created: int = 0
    owned_by: str
    shutdown_date: date | None


class OpenAIModels(msgspec.Struct, frozen=True, kw_only=True):
    """All of them, on one page."""

    object: Literal["list"] = "list"
    data: list[OpenAIModel]


def openai_model(model: Model) -> OpenAIModel:
    """By its public name."""
    return OpenAIModel(id=model.name, owned_by=model.company, shutdown_date=model.ends_on)
