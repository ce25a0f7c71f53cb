"""`/operator/audit` and `/operator/ledger/check`: the audit log, and whether the books balance."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import msgspec
from aiohttp import web
from msgspec import UNSET, UnsetType

from api.formats.parsing import in_utc, parse_query
from api.operators import REF_HINT, answered, asker, body_of, changed_once, kept, ref_decoder, result
from shared.errors import Overloaded
from shared.ledger.check import check_ledger
from shared.money import BIGINT_MAX
from shared.operators.audit import Entry, list_entries
from shared.operators.refs import Kept
from shared.stores.postgres import Connection, reached

LIMIT_DEFAULT, LIMIT_MAX = 100, 1_000
LOG, BOOKS = "The audit log", "The books"


class AuditQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The entries that are asked for."""

    since: (
        Annotated[
            datetime,
            msgspec.Meta(tz=True, description="The time of the oldest entry that is listed; left out for all."),
        ]
        | UnsetType
    ) = UNSET
    actor: (
        Annotated[
            str,
            msgspec.Meta(description="The actor whose entries are listed, such as `operator:NAME`; left out for all."),
        ]
        | UnsetType
    ) = UNSET
    limit: Annotated[int, msgspec.Meta(ge=1, le=LIMIT_MAX, description="The most entries on a page.")] = LIMIT_DEFAULT
    cursor: (
        Annotated[
            int,
            msgspec.Meta(
                ge=1, le=BIGINT_MAX, description="The `next_cursor` of the page before; left out for the first page."
            ),
        ]
        | UnsetType
    ) = UNSET


class AuditPage(msgspec.Struct, frozen=True, kw_only=True):
    """A page of the audit log, newest first."""

    entries: list[Entry]
    """The changes of this page."""
    next_cursor: int | None
    """The `cursor` of the next page; null on the last one."""


async def get_audit(request: web.Request) -> web.Response:
    """Every change of access, credit and routing, by anybody, newest first."""
    who = await asker(request, "audit")
    query = parse_query(request.query, AuditQuery)
    since = in_utc("since", query.since) if query.since else None
    async with reached(LOG):
        page = await list_entries(
            who.services.pool,
            limit=query.limit,
            before_id=query.cursor or None,
            since=since,
            actor=query.actor or None,
        )
    return result(AuditPage(entries=page.entries, next_cursor=page.last_id))


async def post_check(request: web.Request) -> web.Response:
    """Prove that the books balance, on one snapshot of the database. The check reads everything, so only one runs at a
    time.
    """
    who = await asker(request, "read")
    body = await body_of(request, who, ref_decoder, REF_HINT)
    checking = who.services.checking
    if checking.locked():
        raise Overloaded("The books are being checked: try again when that has ended.")

    async def check(_: Connection) -> Kept:
        return kept(await check_ledger(who.services.pool))

    async with reached(BOOKS), checking:
        return answered(await changed_once(request, who, body, check, BOOKS))
