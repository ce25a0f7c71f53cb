"""`GET /v1/models`: the catalogue in OpenAI's form, or in Anthropic's for its clients, which say so by a header."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from api.formats.native_answers import json_bytes
from api.services import SERVICES
from shared.catalogue import Model

UNKNOWN_TIME = "1970-01-01T00:00:00Z"
"""The catalogue does not know when a model was made; Anthropic's API says the epoch then, and 0 is OpenAI's for it."""


async def get_openai_models(request: web.Request) -> web.Response:
    """Every model, in the catalogue's order, all on one page."""
    services = request.app[SERVICES]
    await services.authenticator.authenticate(request.headers, "read")
    if not _for_anthropic(request):
        return _answer({"object": "list", "data": [_openai(model) for model in services.catalogue]})
    listing = [_anthropic(model) for model in services.catalogue]
    ends = {"first_id": listing[0]["id"], "last_id": listing[-1]["id"]}
    return _answer({"data": listing, "has_more": False, **ends})


async def get_openai_model(request: web.Request) -> web.Response:
    """One model, by its public name."""
    services = request.app[SERVICES]
    await services.authenticator.authenticate(request.headers, "read")
    model = services.catalogue.find(request.match_info["id"])
    return _answer(_anthropic(model) if _for_anthropic(request) else _openai(model))


def _for_anthropic(request: web.Request) -> bool:
    return "anthropic-version" in request.headers


def _openai(model: Model) -> dict[str, Any]:
    return {
        "id": model.name,
        "object": "model",
        "created": 0,
        "owned_by": model.company,
        "shutdown_date": model.ends_on,
    }


def _anthropic(model: Model) -> dict[str, Any]:
    return {"type": "model", "id": model.name, "display_name": model.name, "created_at": UNKNOWN_TIME}


def _answer(content: dict[str, Any]) -> web.Response:
    return web.Response(body=json_bytes(content), content_type="application/json")
