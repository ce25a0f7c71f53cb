"""`GET /api/models`: the whole catalogue, and which models can be called now."""

from __future__ import annotations

from aiohttp import web
from msgspec.structs import asdict

from api.formats.native.answers import result_json
from api.http.writing import answer
from api.services import SERVICES, Services
from shared.catalogue.listing import ModelFacts, facts_of


class ListedModel(ModelFacts, frozen=True, kw_only=True):
    """A model of the catalogue, and whether a request for it would be served now."""

    available: bool
    """True if a living worker can call the model now."""


async def get_models(request: web.Request) -> web.StreamResponse:
    """Every model, in the catalogue's order."""
    services = request.app[SERVICES]
    key = await services.authenticator.authenticate(request.headers, "read")
    return await answer(request, result_json(listed_models(services)), key.account_id)


def listed_models(services: Services) -> list[ListedModel]:
    """All models with their availability."""
    catalogue = services.catalogue
    return [
        ListedModel(
            **asdict(facts_of(catalogue, model)),
            available=services.directory.available(catalogue.serving(model.name)),
        )
        for model in catalogue
    ]
