"""`/console/models`: all models with prices and capabilities, and what replaces retired ones."""

from __future__ import annotations

from itertools import groupby
from operator import attrgetter
from typing import get_args

from aiohttp import web

from api.console.frame import render
from api.console.session import Session
from api.endpoints.models import ListedModel, listed_models
from api.services import SERVICES
from shared.catalogue.rows import Lifecycle

SHOWN_STATES = {"": "not retired", "available": "available", "leaving": "legacy, retired", "all": "every state"}
SHOWN = {
    "tools": "tools",
    "vision": "images",
    "json_mode": "JSON",
    "reasoning": "reasoning",
}
"""The capabilities that are shown, and their labels."""
LIFECYCLES = get_args(Lifecycle)
"""From the newest models to retired ones."""


async def get_models(request: web.Request, _: Session) -> web.Response:
    """List the catalogue by vendor, what can be called first; `?q=` selects models whose name, other name or vendor contains
    the text, `?state=` those that are available, or that their vendor advises against or has retired. Without either, retired
    models are left out.
    """
    wanted = request.query.get("q", "").strip().lower()
    state = request.query.get("state", "")
    every = listed_models(request.app[SERVICES])
    found = [model for model in every if _fits(model, wanted) and _is_in(model, state, wanted)]
    callable_now = {model.provider for model in found if model.available}
    found.sort(
        key=lambda model: (
            model.provider not in callable_now,
            model.provider,
            not model.available,
            LIFECYCLES.index(model.lifecycle),
        )
    )
    return render(
        request,
        "models.html",
        groups=[(vendor, list(models)) for vendor, models in groupby(found, attrgetter("provider"))],
        count=len(found),
        every=len(every),
        q=request.query.get("q", ""),
        state=state,
        states=SHOWN_STATES,
        able=lambda model: [word for name, word in SHOWN.items() if getattr(model.capabilities, name)],
    )


def _is_in(model: ListedModel, state: str, wanted: str) -> bool:
    match state:
        case "available":
            return model.available
        case "leaving":
            return model.lifecycle != "active"
        case "all":
            return True
        case _:
            return model.lifecycle != "retired" or bool(wanted)


def _fits(model: ListedModel, wanted: str) -> bool:
    return any(wanted in name.lower() for name in (model.name, model.provider, *model.aliases))
