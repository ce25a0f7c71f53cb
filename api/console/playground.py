"""`/console/playground`: asks up to three models side by side with the key of the session."""

from __future__ import annotations

import json
from itertools import groupby
from operator import attrgetter
from typing import get_args

import msgspec
from aiohttp import web

from api.console.frame import render
from api.console.session import (
    CSRF_HEADER,
    Session,
    SignedOut,
    require_own_site,
    require_scope,
    require_token,
    session_of,
)
from api.endpoints.models import listed_models
from api.formats.asked import Asked
from api.formats.openai.chat import CompletionForm, parse_completion
from api.formats.openai.streams import CompletionChunks
from api.http.caller import base_url_of
from api.services import SERVICES
from api.serving import serve_for
from shared.chat import ReasoningEffort
from shared.errors import InvalidApiKey
from shared.job import AnswerEvent, Done
from shared.money import nano_to_usd

COLUMNS = 3
FIRST_MODEL = "openai-gpt-4o-mini"
"""The model that is chosen until another one is."""
EFFORTS = get_args(ReasoningEffort)


async def get_playground(request: web.Request, _: Session) -> web.Response:
    """Show the form, whose script asks the models. `?model=` is selected first; models that cannot be called now cannot
    be selected.
    """
    models = [model for model in listed_models(request.app[SERVICES]) if model.available or model.lifecycle == "active"]
    models.sort(key=attrgetter("provider"))
    groups = [(vendor, list(them)) for vendor, them in groupby(models, attrgetter("provider"))]
    return render(
        request,
        "playground.html",
        groups=groups if any(model.available for model in models) else [],
        chosen=request.query.get("model") or FIRST_MODEL,
        columns=range(COLUMNS),
        efforts=EFFORTS,
        base_url=base_url_of(request),
    )


async def post_chat(request: web.Request) -> web.StreamResponse:
    """Run a chat request, as `POST /v1/chat/completions` takes it, with the session's key. Errors have the native form. A
    stream says the price in the event before its last one.
    """
    try:
        session = await session_of(request)
    except SignedOut:
        raise InvalidApiKey("Your session has ended: sign in to the console again.") from None
    require_own_site(request)
    require_token(session, request.headers.get(CSRF_HEADER, ""))
    require_scope(session, "inference")
    return await serve_for(request, session.key, _parse)


class PricedChunks(CompletionChunks):
    """OpenAI's chunks, with the cost of the answer in an event `price` before the last chunk."""

    def render(self, sequence: int, event: AnswerEvent) -> bytes:
        """The chunks of one event."""
        rendered = super().render(sequence, event)
        if not isinstance(event, Done):
            return rendered
        price = {"usd": str(nano_to_usd(event.charged_nano)), "tokens_reasoning": event.usage.reasoning}
        return b"event: price\ndata: " + json.dumps(price).encode() + b"\n\n" + rendered


class PricedForm(CompletionForm):
    """A completion whose stream says its price."""

    def stream(self, accept: str, request_id: str, model: str) -> PricedChunks:  # noqa: ARG002 - there is only one form
        """Server-sent events."""
        return PricedChunks(request_id, model, with_usage=True)


def _parse(body: bytes) -> Asked:
    return msgspec.structs.replace(parse_completion(body), form=PricedForm(with_usage=True))
