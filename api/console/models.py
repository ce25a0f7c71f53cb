"""`/console/models`: all models with prices and capabilities, and what replaces retired ones."""

from __future__ import annotations

from itertools import groupby
from operator import attrgetter

from aiohttp import web

from api.console.frame import render
from api.console.session import Session
from api.endpoints.models import ListedModel, listed_models
from api.services import SERVICES

SHOWN = {
    "tools": "tools",
    "vision": "images",
    "json_mode": "JSON",
    "reasoning": "reasoning",
}
"""The capabilities that are shown, and their labels."""


async def get_models(request: web.Request, _: Session) -> web.Response:
    """List the catalogue by vendor; `?q=` selects models whose name, other name or vendor contains the text."""
    wanted = request.query.get("q", "").strip().lower()
    every = listed_models(request.app[SERVICES])
    found = [model for model in every if _fits(model, wanted)]
    found.sort(key=attrgetter("provider"))
    return render(
        request,
        "models.html",
        groups=[(vendor, list(models)) for vendor, models in groupby(found, attrgetter("provider"))],
        count=len(found),
        every=len(every),
        q=request.query.get("q", ""),
        able=lambda model: [word for name, word in SHOWN.items() if getattr(model.capabilities, name)],
    )


def _fits(model: ListedModel, wanted: str) -> bool:
    return any(wanted in name.lower() for name in (model.name, model.provider, *model.aliases))
