"""`GET /v1/models`: the catalogue in OpenAI's form; in Anthropic's for clients with its header; in Codex' for clients that
send their version.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import msgspec
from aiohttp import web
from multidict import MultiDict

from api.formats.anthropic.models import AnthropicModels, anthropic_model
from api.formats.native.answers import json_bytes
from api.formats.openai.codex import CodexModels, codex_model
from api.formats.openai.models import OpenAIModels, openai_model
from api.formats.parsing import parse_query
from api.http.writing import answer
from api.requests.model_names import V1_LISTED_AT
from api.services import SERVICES
from shared.catalogue.models import Catalogue, Model
from shared.errors import InvalidRequest

LIMIT_MAX = 1_000
AFTER = "The last id of the page before, in Anthropic's form."
BEFORE = "The first id of the page after, in Anthropic's form."


class ModelsQuery(msgspec.Struct, frozen=True):
    """The form of the list, and in Anthropic's form the page. Other query parameters are ignored."""

    client_version: (
        Annotated[str, msgspec.Meta(description="The parameter that Codex sends; it selects Codex' form of the list.")]
        | msgspec.UnsetType
    ) = msgspec.UNSET
    limit: Annotated[
        int, msgspec.Meta(ge=1, le=LIMIT_MAX, description="The most models on a page, in Anthropic's form.")
    ] = LIMIT_MAX
    after_id: Annotated[str, msgspec.Meta(description=AFTER)] | msgspec.UnsetType = msgspec.UNSET
    before_id: Annotated[str, msgspec.Meta(description=BEFORE)] | msgspec.UnsetType = msgspec.UNSET


async def get_openai_models(request: web.Request) -> web.StreamResponse:
    """Every model by its public name, in the catalogue's order. The header `anthropic-version` selects Anthropic's form,
    the parameter `client_version` Codex'.
    """
    services = request.app[SERVICES]
    key = await services.authenticator.authenticate(request.headers, "read")
    catalogue, query = services.catalogue, _query(request)
    listing: msgspec.Struct
    if query.client_version is not msgspec.UNSET:
        listing = CodexModels([codex_model(one, catalogue, place) for place, one in enumerate(catalogue)])
    elif _for_anthropic(request):
        listing = _page(catalogue, query)
    else:
        listing = OpenAIModels(data=[openai_model(model) for model in catalogue])
    return await answer(request, json_bytes(listing), key.account_id)


async def get_openai_model(request: web.Request) -> web.Response:
    """One model, by any of its names. The header `anthropic-version` selects Anthropic's form."""
    services = request.app[SERVICES]
    await services.authenticator.authenticate(request.headers, "read")
    model = services.catalogue.find(request.match_info["id"], V1_LISTED_AT)
    shown = anthropic_model(model, services.catalogue) if _for_anthropic(request) else openai_model(model)
    return web.Response(body=json_bytes(shown), content_type="application/json")


def _query(request: web.Request) -> ModelsQuery:
    known = {field.encode_name for field in msgspec.structs.fields(ModelsQuery)}
    return parse_query(MultiDict((name, value) for name, value in request.query.items() if name in known), ModelsQuery)


def _for_anthropic(request: web.Request) -> bool:
    return "anthropic-version" in request.headers


def _page(catalogue: Catalogue, query: ModelsQuery) -> AnthropicModels:
    """One page of the catalogue: the models after `after_id`, or those before `before_id`. `has_more` says whether more
    models follow in that direction.
    """
    models, after, before = list(catalogue), query.after_id or None, query.before_id or None
    if after and before:
        raise InvalidRequest("`after_id` and `before_id` exclude each other: give one of them.")
    if before:
        left = models[: _place(models, before, catalogue)]
        page = left[-query.limit :]
    else:
        left = models[_place(models, after, catalogue) + 1 :] if after else models
        page = left[: query.limit]
    data = [anthropic_model(model, catalogue) for model in page]
    first, last = (data[0].id, data[-1].id) if data else (None, None)
    return AnthropicModels(data=data, has_more=len(page) < len(left), first_id=first, last_id=last)


def _place(models: Sequence[Model], name: str, catalogue: Catalogue) -> int:
    """The index of the model. Raises `ModelNotFound`."""
    return models.index(catalogue.find(name, V1_LISTED_AT))
