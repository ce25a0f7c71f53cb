"""`GET /v1/models`: the catalogue in OpenAI's form, or in Anthropic's for its clients, which say so by a header."""

from __future__ import annotations

from datetime import date
from typing import Literal

import msgspec
from aiohttp import web

from api.formats.native.answers import json_bytes
from api.services import SERVICES
from shared.catalogue.models import Model

UNKNOWN_TIME = "1970-01-01T00:00:00Z"
"""The catalogue does not know when a model was made; Anthropic's API says the epoch then, and 0 is OpenAI's for it."""


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


class AnthropicModel(msgspec.Struct, frozen=True, kw_only=True):
    """`created_at` is the epoch: the catalogue does not know it."""

    type: Literal["model"] = "model"
    id: str
    display_name: str
    created_at: str = UNKNOWN_TIME


class AnthropicModels(msgspec.Struct, frozen=True, kw_only=True):
    """All of them, on one page."""

    data: list[AnthropicModel]
    has_more: bool = False
    first_id: str
    last_id: str


async def get_openai_models(request: web.Request) -> web.Response:
    """Every model, in the catalogue's order; in Anthropic's form with the header `anthropic-version`."""
    services = request.app[SERVICES]
    await services.authenticator.authenticate(request.headers, "read")
    if not _for_anthropic(request):
        return _answer(OpenAIModels(data=[_openai(model) for model in services.catalogue]))
    listing = [_anthropic(model) for model in services.catalogue]
    return _answer(AnthropicModels(data=listing, first_id=listing[0].id, last_id=listing[-1].id))


async def get_openai_model(request: web.Request) -> web.Response:
    """One model, by its public name; in Anthropic's form with the header `anthropic-version`."""
    services = request.app[SERVICES]
    await services.authenticator.authenticate(request.headers, "read")
    model = services.catalogue.find(request.match_info["id"])
    return _answer(_anthropic(model) if _for_anthropic(request) else _openai(model))


def _for_anthropic(request: web.Request) -> bool:
    return "anthropic-version" in request.headers


def _openai(model: Model) -> OpenAIModel:
    return OpenAIModel(id=model.name, owned_by=model.company, shutdown_date=model.ends_on)


def _anthropic(model: Model) -> AnthropicModel:
    return AnthropicModel(id=model.name, display_name=model.name)


def _answer(content: msgspec.Struct) -> web.Response:
    return web.Response(body=json_bytes(content), content_type="application/json")
