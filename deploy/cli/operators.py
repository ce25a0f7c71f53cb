"""`rebootml operator …` and `rebootml audit …`: operators with their tokens, and the audit log."""

from __future__ import annotations

import argparse
from datetime import UTC, datetime
from typing import Any

import asyncpg

from deploy.cli.accounts import state_of
from deploy.cli.command import Answer, add_command
from deploy.cli.spans import from_now
from deploy.cli.tables import plain
from deploy.cli.values import expiry, operator_scopes, rows_at_most, since, token_id
from shared.operators import audit, operators
from shared.operators.audit import Entry
from shared.operators.operators import OperatorRow

ENTRIES_SHOWN = 100
SAID_ELSEWHERE = ("created_at", "key_id", "account_id", "operator")
"""Columns that the table leaves out, because the columns of time and target say the same."""


def add_operator_commands(group: Any) -> None:  # noqa: ANN401 - argparse's own type is private
    """Add the commands `create`, `token`, `list` and `revoke`."""
    create = add_command(
        group, "create", _create, "a new operator; the sign-in for the operators' pages to come, shown once"
    )
    create.add_argument("name")
    token = add_command(group, "token", _token, "a token for the operators' API, shown this once")
    token.add_argument("name")
    token.add_argument(
        "--scope",
        type=operator_scopes,
        default=("read",),
        help=f"comma list of {', '.join(operators.SCOPES)}; `read` unless it is given",
    )
    token.add_argument("--expires", type=expiry, help="a moment such as 2027-01-31T12:00:00Z, or 30d from now")
    add_command(group, "list", _list, "every operator with the tokens")
    revoke = add_command(group, "revoke", _revoke, "refuse an operator and all tokens from now on, or one token")
    revoke.add_argument("name")
    revoke.add_argument("--token", type=token_id, metavar="TOKEN_ID", help="this token alone")


def add_audit_commands(group: Any) -> None:  # noqa: ANN401
    """Add the command `list`."""
    listed = add_command(group, "list", _audit, "changes of access, credit and routing, the newest first")
    listed.add_argument("--since", type=since, help="a moment such as 2027-01-31T12:00:00Z, or 24h ago")
    listed.add_argument("--actor", help="such as cli:USER@HOST, operator:NAME or account:ID/key:ID")
    listed.add_argument("--limit", type=rows_at_most, default=ENTRIES_SHOWN, help=f"{ENTRIES_SHOWN} unless it is given")


async def _create(arguments: argparse.Namespace, pool: asyncpg.Pool) -> Answer:
    sign_in = await operators.create_operator(pool, arguments.name)
    return Answer({"operator": arguments.name, "sign_in": sign_in})


async def _token(arguments: argparse.Namespace, pool: asyncpg.Pool) -> Answer:
    new = await operators.create_token(pool, arguments.name, arguments.scope, arguments.expires)
    shown = {"operator": arguments.name, "token_id": new.row.token_id, "token": new.token}
    return Answer(shown | {"scopes": new.row.scopes, "expires_at": new.row.expires_at})


async def _list(_: argparse.Namespace, pool: asyncpg.Pool) -> Answer:
    found = await operators.list_operators(pool)
    now = datetime.now(UTC)
    return Answer(found, shown=[row for one in found for row in _shown(one, now)])


async def _revoke(arguments: argparse.Namespace, pool: asyncpg.Pool) -> Answer:
    operator = await operators.revoke_operator(pool, arguments.name, token_id=arguments.token)
    return Answer(operator, shown=_shown(operator, datetime.now(UTC)))


async def _audit(arguments: argparse.Namespace, pool: asyncpg.Pool) -> Answer:
    page = await audit.list_entries(pool, limit=arguments.limit, since=arguments.since, actor=arguments.actor)
    now = datetime.now(UTC)
    return Answer(page.entries, shown=[_change(entry, now) for entry in page.entries])


def _shown(operator: OperatorRow, now: datetime) -> list[dict[str, object]]:
    """One row per token."""
    rows: list[dict[str, object]] = []
    for token in operator.tokens:
        state = state_of(token.revoked_at, token.expires_at, now)
        expires = from_now(token.expires_at, now)
        rows.append({"token_id": token.token_id, "state": state, "expires": expires, "scopes": token.scopes})
    if not rows:
        state = "revoked" if operator.revoked_at else "no token"
        rows.append({"token_id": None, "state": state, "expires": None, "scopes": None})
    return [{"operator": operator.operator, **row} for row in rows]


def _change(entry: Entry, now: datetime) -> dict[str, object]:
    """One row per entry. In a narrow terminal there is still room for when, what and by whom."""
    before, after = entry.before or {}, entry.after or {}
    changes = [_changed(name, before, after) for name in dict.fromkeys([*before, *after]) if name not in SAID_ELSEWHERE]
    return {
        "when": from_now(entry.at, now),
        "action": entry.action,
        "target": entry.target,
        "actor": entry.actor,
        "change": ", ".join(one for one in changes if one),
        "at": entry.at,
        "request_id": entry.request_id,
    }


def _changed(name: str, before: dict[str, object], after: dict[str, object]) -> str:
    was, now = before.get(name), after.get(name)
    if name not in before:
        return "" if now is None else f"{name} {plain(now)}"
    return f"{name} {plain(was)} → {plain(now)}"
