"""`/console/keys`: lists, creates, rotates and revokes the account's keys."""

from __future__ import annotations

from typing import TypeVar

import msgspec
from aiohttp import web
from multidict import MultiDict

from api.console.frame import render
from api.console.session import Session, form_of
from api.endpoints.keys import RotationBody, end_key, keys_shown, make_key, replace_key, require_manager
from api.formats.native.keys import NewKeyBody
from api.services import SERVICES
from shared import clock
from shared.errors import Conflict, InvalidRequest, RebootError
from shared.ledger.api_keys import RPM_MAX, NewKey

T = TypeVar("T")
DAY_S = 86_400
LIVES = {"": "never", str(7 * DAY_S): "in 7 days", str(30 * DAY_S): "in 30 days", str(365 * DAY_S): "in a year"}
"""Lifetimes of a new key: seconds, and how they are shown."""
GRACES = {"0": "at once", "3600": "in an hour", str(DAY_S): "in a day", str(7 * DAY_S): "in 7 days"}
"""Grace periods of a rotated key."""
SCOPES = {
    "inference": "call models, send batches",
    "read": "see requests, usage and the balance",
    "manage": "make and end keys",
}
"""Every scope of a key, and what it allows."""
TAKES = {
    "rpm": f"“Requests a minute” takes a whole number from 1 to {RPM_MAX:,}, or nothing for no limit.",
    "limit_usd": "“Spending limit in USD” takes an amount such as 12.50, or nothing for no limit.",
}


async def get_keys(request: web.Request, session: Session) -> web.Response:
    """List every usable key and the newest ended ones, newest first."""
    return await _page(request, session)


async def post_key(request: web.Request, session: Session) -> web.Response:
    """Create a key and show it on the only page that ever does."""
    form = await form_of(request)
    require_manager(session.key)
    try:
        new = await make_key(request, session.key, _read(form, NewKeyBody))
    except (InvalidRequest, Conflict) as error:
        return await _page(request, session, error)
    return _made(request, new, None)


async def post_rotation(request: web.Request, session: Session) -> web.Response:
    """Create a key's successor and show it on the only page that ever does. A session of the old key ends with that."""
    form = await form_of(request)
    require_manager(session.key)
    old_id = request.match_info["id"]
    try:
        new = await replace_key(request, session.key, old_id, _read(form, RotationBody))
    except (InvalidRequest, Conflict) as error:
        return await _page(request, session, error)
    return _made(request, new, old_id)


async def post_revocation(request: web.Request, session: Session) -> web.Response:
    """Revoke a key and show the others."""
    await form_of(request)
    require_manager(session.key)
    await end_key(request, session.key, request.match_info["id"])
    raise web.HTTPSeeOther("/console/keys")


def _read(form: MultiDict[str], kind: type[T]) -> T:
    """The fields of a form as a body of the API; empty fields are left out."""
    given: dict[str, object] = {
        field.encode_name: form[field.encode_name]
        for field in msgspec.structs.fields(kind)  # type: ignore[arg-type]
        if form.get(field.encode_name)
    }
    if "scopes" in given:
        given["scopes"] = form.getall("scopes")
    try:
        return msgspec.convert(given, kind, strict=False)
    except msgspec.ValidationError as error:
        raise InvalidRequest(_told(str(error))) from None


def _told(error: str) -> str:
    """The error in words for people, who know no types."""
    found = next((told for field, told in TAKES.items() if f"`$.{field}" in error), None)
    return found or "The form is not as it should be: choose from what it offers."


def _made(request: web.Request, new: NewKey, old_id: str | None) -> web.Response:
    return render(request, "key_made.html", key=new.key, row=new.stored.row(), old_id=old_id, status=201)


async def _page(request: web.Request, session: Session, wrong: RebootError | None = None) -> web.Response:
    require_manager(session.key)
    services = request.app[SERVICES]
    async with services.lists.one(session.key.account_id) as listing:
        rows = await keys_shown(services, session.key.account_id, listing)
    return render(
        request,
        "keys.html",
        keys=rows[::-1],
        now=clock.utc_now(),
        scopes=SCOPES,
        lives=LIVES,
        graces=GRACES,
        wrong=wrong.message if wrong else "",
        status=wrong.status if wrong else 200,
    )
