"""`/api/keys`: an account's own keys, for keys with the scope `manage`."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

import msgspec
import structlog
from aiohttp import web

from api.formats.native.answers import result_json
from api.formats.native.keys import CREATE_HINT, CreatedKey, NewKeyBody, rules_of
from api.formats.parsing import parse_once
from api.http.lists import ROWS_AT_ONCE, LongList, batched
from api.http.state import REQUEST_ID
from api.http.writing import answer
from api.services import SERVICES, Services
from shared import clock
from shared.errors import InvalidRequest, PermissionDenied
from shared.ledger.api_keys import (
    GRACE_MAX,
    ApiKey,
    KeyRow,
    Manager,
    NewKey,
    create_key,
    find_key_of,
    list_keys,
    revoke_key,
    rotate_key,
)
from shared.operators.audit import Author
from shared.stores.postgres import reached

log = structlog.get_logger(__name__)
WHAT = "The keys"
LISTED_PER_USABLE = 2
ROTATE_HINT = "It takes grace_s"
Seconds = Annotated[float, msgspec.Meta(ge=0, le=GRACE_MAX.total_seconds())]


class RotationBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The grace period of the old key."""

    grace_s: Seconds = 0.0
    """Seconds for which the old key goes on beside the new one; 0, the default, ends it at once."""


_create_decoder = msgspec.json.Decoder(NewKeyBody)
_rotation_decoder = msgspec.json.Decoder(RotationBody)


async def get_keys(request: web.Request) -> web.StreamResponse:
    """Every usable key and the newest ended ones, oldest first."""
    services = request.app[SERVICES]
    manager = await _manager(request)
    async with services.lists.one(manager.account_id) as listing:
        body = result_json(await keys_shown(services, manager.account_id, listing))
    return await answer(request, body, manager.account_id)


async def keys_shown(services: Services, account_id: str, listing: LongList) -> list[KeyRow]:
    """The rows that `get_keys` answers with. Raises `Overloaded` or `Unavailable`."""
    rows: list[KeyRow] = []
    async with reached(WHAT):
        rows_max = services.settings.keys_per_account_max * LISTED_PER_USABLE
        keys = await list_keys(services.pool, account_id, rows_max=rows_max)
    for piece in batched(keys, ROWS_AT_ONCE):
        rows += [key.row() for key in piece]
        await listing.after(piece)
    return rows


async def post_key(request: web.Request) -> web.Response:
    """Create a key of the same account. This answer is the only one that shows it."""
    manager = await _manager(request)
    body = await request.app[SERVICES].bodies.read_small_json(request, manager.account_id)
    return _created(await make_key(request, manager, parse_once(body, _create_decoder, CREATE_HINT)))


async def make_key(request: web.Request, manager: ApiKey, body: NewKeyBody) -> NewKey:
    """Create a key with these rules. Raises `InvalidRequest`, `InvalidApiKey`, `Conflict` or `Unavailable`."""
    services = request.app[SERVICES]
    rules = rules_of(body, clock.utc_now())
    async with reached(WHAT):
        by, author = _by(manager, services), _author(request, manager)
        new = await create_key(services.pool, manager.account_id, rules, by=by, author=author)
    log.info("key created", account_id=manager.account_id, key_id=new.key_id, by_key_id=manager.id)
    return new


async def post_rotation(request: web.Request) -> web.Response:
    """Create a key with the same rules; the old one ends after `grace_s`."""
    manager = await _manager(request)
    body = await request.app[SERVICES].bodies.read_small_json(request, manager.account_id)
    rotation = parse_once(body or b"{}", _rotation_decoder, ROTATE_HINT)
    return _created(await replace_key(request, manager, request.match_info["key_id"], rotation))


async def replace_key(request: web.Request, manager: ApiKey, key_id: str, body: RotationBody) -> NewKey:
    """Create the successor of a key. Raises as `make_key` does, or `NotFound`."""
    services = request.app[SERVICES]
    grace = _grace(body, services)
    async with reached(WHAT):
        old = await find_key_of(services.pool, manager.account_id, key_id)
        by, author = _by(manager, services), _author(request, manager)
        new = await rotate_key(services.pool, old.id, grace, by=by, author=author)
    log.info("key rotated", account_id=manager.account_id, key_id=old.id, new_key_id=new.key_id, by_key_id=manager.id)
    return new


async def delete_key(request: web.Request) -> web.Response:
    """Revoke a key; front doors notice within `AUTH_CACHE_S`. Revoking it again changes nothing."""
    manager = await _manager(request)
    revoked = await end_key(request, manager, request.match_info["key_id"])
    return web.Response(body=result_json(revoked.row()), content_type="application/json")


async def end_key(request: web.Request, manager: ApiKey, key_id: str) -> ApiKey:
    """Revoke a key and return it. Raises `NotFound` or `Unavailable`."""
    services = request.app[SERVICES]
    async with reached(WHAT):
        key = await find_key_of(services.pool, manager.account_id, key_id)
        within_s = services.settings.turn_timeout_s
        revoked = await revoke_key(services.pool, key.id, within_s=within_s, author=_author(request, manager))
    if key.revoked_at is None:
        log.info("key revoked", account_id=manager.account_id, key_id=key.id, by_key_id=manager.id)
    return revoked


async def _manager(request: web.Request) -> ApiKey:
    key = await request.app[SERVICES].authenticator.authenticate(request.headers, "manage")
    require_manager(key)
    return key


def require_manager(key: ApiKey) -> None:
    """Raise `PermissionDenied` for a key with a limit of its own, which it could evade by creating another key."""
    if key.limited():
        raise PermissionDenied(
            "This API key has a spending limit, a rate or a time of expiry, so it cannot manage keys: the keys it makes"
            " could be without. Use a key with the scope `manage` and no limits."
        )


def _by(manager: ApiKey, services: Services) -> Manager:
    settings = services.settings
    return Manager(manager.id, settings.keys_per_account_max, settings.turn_timeout_s)


def _author(request: web.Request, manager: ApiKey) -> Author:
    return Author(f"account:{manager.account_id}/key:{manager.id}", request[REQUEST_ID])


def _created(new: NewKey) -> web.Response:
    body = result_json(CreatedKey(key=new.key, **msgspec.structs.asdict(new.stored.row())))
    return web.Response(body=body, status=201, content_type="application/json", headers={"Cache-Control": "no-store"})


def _grace(body: RotationBody, services: Services) -> timedelta:
    grace_max_s = services.settings.key_grace_max_s
    if body.grace_s > grace_max_s:
        raise InvalidRequest(f"`grace_s` is at most {grace_max_s:g} seconds.")
    return timedelta(seconds=body.grace_s)
