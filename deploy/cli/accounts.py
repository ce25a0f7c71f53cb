"""`rebootml account …` and `rebootml key …`: accounts, their credit, and their API keys."""

from __future__ import annotations

import argparse
import asyncio
import sys
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg

from deploy.cli.command import Answer, add_command
from deploy.cli.spans import from_now
from deploy.cli.values import expiry, grace, key_id, rpm, scopes, usd, usd_change
from shared.ids import new_id
from shared.ledger import accounts, api_keys
from shared.ledger.api_keys import KeyRow, KeyRules, NewKey
from shared.ledger.sessions import make_link
from shared.money import NanoUsd
from shared.stores.postgres import UNREACHABLE

KEY_ID = "the twelve characters in the middle of a key, or the whole key"
LINK_S = 43_200.0
"""Seconds for which a link to the console is valid."""


def add_account_commands(group: Any) -> None:  # noqa: ANN401 - argparse's own type is private
    """Add the commands `create`, `show`, `list` and `credit`."""
    create = add_command(group, "create", _account_create, "a new account")
    create.add_argument("name")
    create.add_argument("--credit", type=usd, default=NanoUsd(0), metavar="USD")
    add_command(group, "show", _account_show, "one account").add_argument("id")
    add_command(group, "list", _account_list, "every account")
    credit = add_command(group, "credit", _account_credit, "add credit, or take it back with a negative amount")
    credit.add_argument("id")
    credit.add_argument("usd", type=usd_change, metavar="USD")
    credit.add_argument("--note")
    credit.add_argument(
        "--ref",
        help="the same reference again credits once; where it is not known what came of a command without one, one is told",
    )


def add_key_commands(group: Any) -> None:  # noqa: ANN401
    """Add the commands `create`, `list`, `revoke`, `link` and `rotate`."""
    create = add_command(group, "create", _key_create, "a new key, shown this once")
    create.add_argument("account_id")
    create.add_argument("--name", default="")
    create.add_argument("--rpm", type=rpm, help="requests per minute")
    create.add_argument("--limit", type=usd, metavar="USD", help="what the key may spend in all")
    create.add_argument(
        "--scope", type=scopes, default=("inference", "read"), help="comma list of inference, read, manage"
    )
    create.add_argument("--expires", type=expiry, help="a moment such as 2027-01-31T12:00:00Z, or 30d from now")
    create.add_argument("--strict", action="store_true", help="refuse what would be left out of a request")
    add_command(group, "list", _key_list, "an account's keys").add_argument("account_id")
    revoke = add_command(group, "revoke", _key_revoke, "refuse a key from now on")
    revoke.add_argument("key_id", type=key_id, help=KEY_ID)
    link = add_command(group, "link", _key_link, "a link that opens the console once, signed in as this key")
    link.add_argument("key_id", type=key_id, help=KEY_ID)
    rotate = add_command(group, "rotate", _key_rotate, "a new key with the same rules; the old one ends after --grace")
    rotate.add_argument("key_id", type=key_id, help=KEY_ID)
    rotate.add_argument(
        "--grace",
        type=grace,
        default=timedelta(0),
        help="such as 24h; a spending limit moves at once",
    )


async def _account_create(arguments: argparse.Namespace, pool: asyncpg.Pool) -> Answer:
    return Answer((await accounts.create_account(pool, arguments.name, arguments.credit)).public())


async def _account_show(arguments: argparse.Namespace, pool: asyncpg.Pool) -> Answer:
    return Answer((await accounts.find_account(pool, arguments.id)).public())


async def _account_list(_: argparse.Namespace, pool: asyncpg.Pool) -> Answer:
    return Answer([account.public() for account in await accounts.list_accounts(pool)])


async def _account_credit(arguments: argparse.Namespace, pool: asyncpg.Pool) -> Answer:
    """Credit the account. Without a reference a new one is used and shown, so that the command can be repeated with it if
    its outcome is unknown.
    """
    ref = arguments.ref or new_id("ref")
    try:
        account = await accounts.credit_account(pool, arguments.id, arguments.usd, ref=ref, note=arguments.note)
    except (*UNREACHABLE, asyncio.CancelledError):
        again = f"it may have been credited: repeat the command with --ref {ref}, which does it once"
        print(f"rebootml: {again}", file=sys.stderr)  # noqa: T201 - beside the document
        raise
    return Answer(account.public())


async def _key_create(arguments: argparse.Namespace, pool: asyncpg.Pool) -> Answer:
    rules = KeyRules(
        name=arguments.name,
        scopes=arguments.scope,
        rpm=arguments.rpm,
        limit=arguments.limit,
        expires_at=arguments.expires,
        strict=arguments.strict,
    )
    return _new_key(await api_keys.create_key(pool, arguments.account_id, rules))


async def _key_list(arguments: argparse.Namespace, pool: asyncpg.Pool) -> Answer:
    await accounts.find_account(pool, arguments.account_id)
    keys = [key.row() for key in await api_keys.list_keys(pool, arguments.account_id)]
    now = datetime.now(UTC)
    return Answer(keys, shown=[_shown(key, now) for key in keys])


async def _key_revoke(arguments: argparse.Namespace, pool: asyncpg.Pool) -> Answer:
    return Answer((await api_keys.revoke_key(pool, arguments.key_id)).row())


async def _key_link(arguments: argparse.Namespace, pool: asyncpg.Pool) -> Answer:
    link = await make_link(pool, arguments.key_id, LINK_S)
    return Answer({"key_id": arguments.key_id, "path": f"/console/enter/{link}", "lives_s": LINK_S})


async def _key_rotate(arguments: argparse.Namespace, pool: asyncpg.Pool) -> Answer:
    return _new_key(await api_keys.rotate_key(pool, arguments.key_id, arguments.grace))


def _new_key(new: NewKey) -> Answer:
    return Answer({"key_id": new.key_id, "key": new.key})


def _shown(key: KeyRow, now: datetime) -> dict[str, object]:
    return {
        "key_id": key.key_id,
        "name": key.name or None,
        "state": state_of(key.revoked_at, key.expires_at, now),
        "used_usd": key.used_usd,
        "limit_usd": key.limit_usd,
        "rpm": key.rpm,
        "expires": from_now(key.expires_at, now),
        "scopes": key.scopes,
        "created_at": key.created_at,
        "strict": key.strict,
    }


def state_of(revoked_at: datetime | None, expires_at: datetime | None, now: datetime) -> str:
    """The state of a key or a token."""
    if revoked_at is not None:
        return "revoked"
    return "expired" if expires_at is not None and expires_at <= now else "usable"
