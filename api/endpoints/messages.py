"""`POST /v1/messages`: a chat request in the form of Anthropic's Messages API; and the estimate of its tokens."""

from __future__ import annotations

from functools import partial

import msgspec
from aiohttp import web

from api.formats.anthropic import chat as anthropic
from api.formats.native.answers import json_bytes
from api.formats.wishes import ignored_header, without_query
from api.requests.model_check import fit_to_model
from api.requests.model_names import V1_LISTED_AT, asked_in
from api.services import SERVICES
from api.serving import serve
from shared.input_tokens import estimated_input


class TokenCount(msgspec.Struct, frozen=True):
    """An estimate of the input's tokens, made by the front door without asking a vendor."""

    input_tokens: int
    """The estimated tokens of the input; the vendor's own count is known only once it has answered."""


async def post_messages(request: web.Request) -> web.StreamResponse:
    """Answer with a message, or with the events of one. `anthropic-version` is accepted and changes nothing. Of the
    values of `anthropic-beta`, `interleaved-thinking-2025-05-14` lets `thinking.budget_tokens` exceed `max_tokens`; the
    others change nothing.
    """
    interleaved = anthropic.thinks_between_calls(request.headers)
    return await serve(request, partial(anthropic.parse_message, interleaved=interleaved))


async def post_count_tokens(request: web.Request) -> web.Response:
    """Estimate the tokens of the input from its bytes without asking a vendor; it costs nothing. `x-token-count` says
    `estimate`.
    """
    services = request.app[SERVICES]
    key = await services.authenticator.authenticate(request.headers, "inference")
    with await services.bodies.read_json(request, key.account_id) as body:
        async with services.bodies.turn(body.size):
            asked = asked_in(body.take(), anthropic.parse_count, services.catalogue, V1_LISTED_AT)
            model = services.catalogue.serving(asked.model, V1_LISTED_AT)
            asked = without_query(asked, request.query)
            asked, model = fit_to_model(asked, model, services.settings, strict=key.strict)
            tokens = estimated_input(asked.chat, model.image_tokens)
    return web.Response(
        body=json_bytes(TokenCount(tokens)),
        content_type="application/json",
        headers={"x-token-count": "estimate", **ignored_header(asked.ignored)},
    )
