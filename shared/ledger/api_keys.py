"""API keys: `rml_<id>_<secret><checksum>`."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from typing import NamedTuple

import asyncpg
import msgspec

from shared import clock, tokens
from shared.errors import Conflict, InvalidApiKey, InvalidRequest, NotFound
from shared.ledger.accounts import no_such_account
from shared.money import NANO_PER_USD, USD_MAX, NanoUsd, nano_to_usd
from shared.operators.audit import Author, note
from shared.settings import TURN_TIMEOUT_S
from shared.stores.postgres import Connection, KeptSession, load_queries
from shared.stores.turns import in_turn

SQL = load_queries("credentials")
PREFIX = "rml"
SCOPES = ("inference", "read", "manage")
NAME_LENGTH_MAX = 200
LIMIT_NANO_MAX = int(USD_MAX * NANO_PER_USD)
RPM_MAX = 10_000_000
GRACE_MAX = timedelta(days=3_650)
LIFE_MAX = timedelta(days=36_500)
"""The longest time until a key expires. It ends well before the end of the calendar, after which a row could not be
read.
"""
HINT = "send `Authorization: Bearer rml_…` with a key of this service, or set it as your client's API key"
"""The advice on how to send a key. The header `x-api-key` is not named: Claude Code takes a 401 that names it for its
own lost sign-in and hides the text (2.1.332, read 2026-11).
"""


class ApiKey(msgspec.Struct, frozen=True):
    """A key as stored. `limit` and `used` are nano-USD, `rpm` is requests per minute; None means no limit."""

    id: str
    account_id: str
    name: str
    secret_sha256: bytes
    scopes: tuple[str, ...]
    rpm: int | None
    limit: NanoUsd | None
    used: NanoUsd
    expires_at: datetime | None
    revoked_at: datetime | None
    created_at: datetime
    strict: bool = False
    """True if the key refuses requests of which something would be left out."""

    def usable(self, now: datetime) -> bool:
        """True if the key is neither revoked nor expired at `now`."""
        return self.revoked_at is None and (self.expires_at is None or self.expires_at > now)

    def proves(self, secret: str) -> bool:
        """Compare the secret with the stored hash, in constant time."""
        return tokens.proves(secret, self.secret_sha256)

    def limited(self) -> bool:
        """True if the key has a limit that a key created by it might not have."""
        return not (self.rpm is None and self.limit is None and self.expires_at is None)

    def row(self) -> KeyRow:
        """The key in the form in which it is shown."""
        return KeyRow(
            key_id=self.id,
            account_id=self.account_id,
            name=self.name,
            scopes=self.scopes,
            rpm=self.rpm,
            limit_usd=None if self.limit is None else nano_to_usd(self.limit),
            used_usd=None if self.limit is None else nano_to_usd(self.used),
            expires_at=self.expires_at,
            revoked_at=self.revoked_at,
            created_at=self.created_at,
            strict=self.strict,
        )


class KeyRow(msgspec.Struct, frozen=True, kw_only=True):
    """A key without its secret. Usage is counted only for keys with a limit."""

    key_id: str
    """The key's id: twelve characters, the middle part of the key."""
    account_id: str
    """The id of the account that pays."""
    name: str
    """The name that the key was given when it was created."""
    scopes: tuple[str, ...]
    """The key's scopes: `inference` (run models), `read` (read usage and requests), `manage` (create and end keys)."""
    rpm: int | None
    """The most requests in any minute; null for no limit."""
    limit_usd: str | None
    """The most USD that the key may spend in all, as a decimal string; null for no limit."""
    used_usd: str | None
    """The USD that the key has spent of its limit, as a decimal string; null without a limit."""
    expires_at: datetime | None
    """The time at which the key expires; null for never."""
    revoked_at: datetime | None
    """The time at which the key was revoked; null if it was not."""
    created_at: datetime
    """The time at which the key was created."""
    strict: bool
    """True if the key refuses requests of which something would be left out."""


class NewKey(NamedTuple):
    """A new key with its secret, which is seen only here, and the row that is stored."""

    key: str
    stored: ApiKey

    @property
    def key_id(self) -> str:
        """The part of the key that is not secret."""
        return self.stored.id


class KeyRules(msgspec.Struct, frozen=True, kw_only=True):
    """The rules that a key is created with."""

    name: str = ""
    scopes: tuple[str, ...] = ("inference", "read")
    rpm: int | None = None
    limit: NanoUsd | None = None
    expires_at: datetime | None = None
    strict: bool = False


class Manager(NamedTuple):
    """A key that creates keys for its own account: its id, the most usable keys that the account may have, and how long to
    wait for others who create keys.
    """

    key_id: str
    keys_max: int
    within_s: float = TURN_TIMEOUT_S


def split_key(key: str) -> tuple[str, str]:
    """The id and the secret of a well-formed key. Raises `InvalidApiKey` for anything else without asking the database."""
    found = tokens.parted(PREFIX, key)
    if found is None:
        raise InvalidApiKey(f"This is not one of our API keys (mistyped or cut off?): {HINT}.")
    return found


def no_such_key(key_id: str) -> NotFound:
    """The error for an id that no key has. It repeats nothing longer than an id, because that may be a whole key."""
    shown = f"No key {key_id}" if len(key_id) <= tokens.ID_LENGTH else "This is no id of a key"
    return NotFound(
        f"{shown}: an id is the {tokens.ID_LENGTH} characters in the middle of a key; `rebootml key list ACCOUNT_ID` and "
        "GET /operator/accounts/{id}/keys list those of an account."
    )


async def create_key(
    source: asyncpg.Pool | Connection,
    account_id: str,
    rules: KeyRules,
    *,
    by: Manager | None = None,
    author: Author | None = None,
    secret: str | None = None,
) -> NewKey:
    """Create a key for `account_id`. An operator creates it unless `by` names a manager; its secret is new unless `secret`
    is given. Raises `NotFound` for an unknown account, `InvalidRequest` for contradictory rules, `InvalidApiKey` if the
    manager has ended, `Conflict` if there would be too many keys.
    """
    _check(rules)
    try:
        async with _making_keys(source, account_id, by) as connection:
            new = await _insert_key(connection, account_id, rules, secret)
            await note(connection, author, "key.create", f"key:{new.key_id}", None, new.stored.row())
    except asyncpg.ForeignKeyViolationError:
        raise no_such_account(account_id) from None
    return new


async def find_key(source: asyncpg.Pool | Connection | KeptSession, key_id: str) -> ApiKey | None:
    """The row of a key, or None."""
    rows = await source.fetch(SQL["find"], key_id)
    return key_from_row(rows[0]) if rows else None


async def find_key_of(pool: asyncpg.Pool, account_id: str, key_id: str) -> ApiKey:
    """The account's key with this id. Raises `NotFound`, also for a text that is no id."""
    key = await find_key(pool, key_id) if key_id.isascii() and key_id.isalnum() else None
    if key is None or key.account_id != account_id:
        raise NotFound("There is no such key: GET /api/keys lists yours.")
    return key


async def list_keys(pool: asyncpg.Pool, account_id: str, *, rows_max: int | None = None) -> list[ApiKey]:
    """The account's keys, oldest first, ended ones too. Beyond `rows_max` the oldest ended keys are left out."""
    return [key_from_row(row) for row in await pool.fetch(SQL["list"], account_id, rows_max)]


async def revoke_key(
    source: asyncpg.Pool | Connection, key_id: str, *, within_s: float = TURN_TIMEOUT_S, author: Author | None = None
) -> ApiKey:
    """Revoke a key; front doors notice within `AUTH_CACHE_S`. Raises `NotFound`."""
    async with in_turn(source, SQL["lock"], key_id, within_s) as connection:
        before = await _existing(connection, key_id)
        await connection.execute(SQL["revoke"], key_id)
        after = await _existing(connection, key_id)
        if before.revoked_at != after.revoked_at:
            was, now = ({"revoked_at": one.revoked_at} for one in (before, after))
            await note(connection, author, "key.revoke", f"key:{key_id}", was, now)
    return after


async def rotate_key(
    pool: asyncpg.Pool, key_id: str, grace: timedelta, *, by: Manager | None = None, author: Author | None = None
) -> NewKey:
    """Replace a key by a new one with the same rules; the old one ends after `grace`. Raises as `create_key` does,
    `InvalidRequest` also if the old key has ended or the grace is longer than `GRACE_MAX`, `Conflict` also if it was
    rotated already.

    Running requests belong to the new key at once, and so does the rest of a spending limit, so that both keys together
    stay within it. Requests that the old key begins during its grace belong to the new key afterwards.
    """
    if not timedelta(0) <= grace <= GRACE_MAX:
        raise InvalidRequest(f"The grace of a rotated key is at most {GRACE_MAX.days} days.")
    account_id = (await _existing(pool, key_id)).account_id
    async with _making_keys(pool, account_id, by) as connection:
        old = await _existing(connection, key_id)
        if not old.usable(clock.utc_now()):
            raise InvalidRequest(f"Key {key_id} is revoked or expired: create a new one.")
        if successor := await connection.fetchval(SQL["successor"], key_id):
            if (await _existing(connection, successor)).usable(clock.utc_now()):
                raise Conflict(f"Key {key_id} was rotated already: rotate the new one: {successor}.")
            raise Conflict(f"Key {key_id} was rotated already, to {successor}, which has ended: create a new one.")
        left = await connection.fetchval(SQL["take_limit"], key_id)
        rules = KeyRules(name=old.name, scopes=old.scopes, rpm=old.rpm, limit=left, expires_at=old.expires_at)
        rules = msgspec.structs.replace(rules, strict=old.strict)
        new = await _insert_key(connection, account_id, rules)
        await connection.execute(SQL["hand_over"], key_id, grace.total_seconds(), new.key_id)
        await connection.execute(SQL["hand_over_batches"], key_id, new.key_id)
        await connection.execute(SQL["hand_over_requests"], key_id, new.key_id, account_id)
        ended = await _existing(connection, key_id)
        was, now = {"expires_at": old.expires_at}, {"expires_at": ended.expires_at, "successor": new.key_id}
        await note(connection, author, "key.rotate", f"key:{key_id}", was, now)
        await note(connection, author, "key.create", f"key:{new.key_id}", None, new.stored.row())
    return new


@contextlib.asynccontextmanager
async def _making_keys(
    source: asyncpg.Pool | Connection, account_id: str, by: Manager | None
) -> AsyncIterator[Connection]:
    """A transaction in which nobody else creates keys for the account, and whose manager is not revoked before its end.
    It locks the account first, as reservations do.
    """
    within_s = by.within_s if by else TURN_TIMEOUT_S
    async with in_turn(source, SQL["lock_account"], account_id, within_s) as connection:
        if by and not await connection.fetchval(SQL["is_usable"], by.key_id):
            raise InvalidApiKey("This API key is revoked or has expired: use another one.")
        yield connection
        if by and await connection.fetchval(SQL["count_usable"], account_id) > by.keys_max:
            raise Conflict(f"An account has at most {by.keys_max} keys that can be used: revoke one first.")


async def _insert_key(connection: Connection, account_id: str, rules: KeyRules, secret: str | None = None) -> NewKey:
    minted = tokens.mint(PREFIX, secret)
    (row,) = await connection.fetch(
        SQL["create"],
        *(minted.id, account_id, rules.name, minted.secret_sha256, list(rules.scopes)),
        *(rules.rpm, rules.limit, rules.expires_at, rules.strict),
    )
    return NewKey(minted.text, key_from_row(row))


async def _existing(source: asyncpg.Pool | Connection, key_id: str) -> ApiKey:
    key = await find_key(source, key_id)
    if key is None:
        raise no_such_key(key_id)
    return key


def _check(rules: KeyRules) -> None:
    if len(rules.name) > NAME_LENGTH_MAX or "\0" in rules.name:
        raise InvalidRequest(f"A key's name has at most {NAME_LENGTH_MAX} characters.")
    if not rules.scopes or set(rules.scopes) - set(SCOPES):
        raise InvalidRequest(f"Scopes are a comma list of {', '.join(SCOPES)}.")
    if rules.rpm is not None and not 1 <= rules.rpm <= RPM_MAX:
        raise InvalidRequest(f"Requests per minute are a whole number from 1 to {RPM_MAX}.")
    if rules.limit is not None and not 0 <= rules.limit <= LIMIT_NANO_MAX:
        raise InvalidRequest(f"A spending limit is an amount from 0 to {USD_MAX} USD.")
    if rules.expires_at is not None:
        _check_expiry(rules.expires_at, clock.utc_now())


def _check_expiry(expires_at: datetime, now: datetime) -> None:
    if expires_at <= now:
        raise InvalidRequest("The time of expiry has passed already.")
    if expires_at > now + LIFE_MAX:
        raise InvalidRequest(f"The time of expiry is at most {LIFE_MAX.days} days from now.")


def key_from_row(row: asyncpg.Record) -> ApiKey:
    """A key from a row with the columns of the query `find`."""
    return ApiKey(**{_FIELDS.get(name, name): value for name, value in row.items()} | {"scopes": tuple(row["scopes"])})


_FIELDS = {"limit_nano": "limit", "used_nano": "used"}
