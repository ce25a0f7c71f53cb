"""Operators and the tokens of their API: `rmo_<id>_<secret><checksum>`."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Literal, NamedTuple, get_args

import asyncpg
import msgspec

from shared import clock, tokens
from shared.errors import Conflict, InvalidApiKey, InvalidRequest, NotFound
from shared.operators.audit import Author, note
from shared.settings import TURN_TIMEOUT_S
from shared.stores.postgres import Connection, load_queries
from shared.stores.turns import in_turn

SQL = load_queries("operators")
PREFIX = "rmo"
SIGN_IN_PREFIX = "rmc"
Scope = Literal["accounts", "keys", "routing", "audit", "read"]
SCOPES: tuple[Scope, ...] = get_args(Scope)
NAME = re.compile(r"[A-Za-z0-9._@-]{1,64}")
HINT = "send `Authorization: Bearer rmo_…` with a token that `rebootml operator token` printed"


class Token(msgspec.Struct, frozen=True):
    """A token as stored. It ends when its operator is revoked."""

    id: str
    operator: str
    secret_sha256: bytes
    scopes: tuple[str, ...]
    expires_at: datetime | None
    revoked_at: datetime | None
    created_at: datetime

    def usable(self, now: datetime) -> bool:
        """True if the token is neither revoked nor expired at `now`."""
        return self.revoked_at is None and (self.expires_at is None or self.expires_at > now)

    def row(self) -> TokenRow:
        """The token in the form in which it is shown."""
        return TokenRow(
            token_id=self.id,
            scopes=self.scopes,
            expires_at=self.expires_at,
            revoked_at=self.revoked_at,
            created_at=self.created_at,
        )


class TokenRow(msgspec.Struct, frozen=True, kw_only=True):
    """A token without its secret, in the form in which it is shown."""

    token_id: str
    scopes: tuple[str, ...]
    expires_at: datetime | None
    revoked_at: datetime | None
    created_at: datetime


class OperatorRow(msgspec.Struct, frozen=True, kw_only=True):
    """An operator with all tokens."""

    operator: str
    created_at: datetime
    revoked_at: datetime | None
    tokens: tuple[TokenRow, ...] = ()


class NewToken(NamedTuple):
    """A new token with its secret, which is seen only here, and the row that is stored."""

    token: str
    row: TokenRow


def split_token(text: str) -> tuple[str, str]:
    """The id and the secret of a well-formed token. Raises `InvalidApiKey` for anything else without asking the database."""
    found = tokens.parted(PREFIX, text)
    if found is None:
        raise InvalidApiKey(f"This is not a token of an operator: {HINT}. API keys open nothing here.")
    return found


async def create_operator(pool: asyncpg.Pool, name: str, *, author: Author | None = None) -> str:
    """Create an operator and return the secret for the operators' console, which is seen only here. Raises `InvalidRequest`
    for a bad name, `Conflict` if an operator has or had this name.
    """
    if not NAME.fullmatch(name):
        raise InvalidRequest("An operator's name has 1 to 64 letters, digits and . _ @ -")
    secret = tokens.mint(SIGN_IN_PREFIX)
    async with pool.acquire() as connection, connection.transaction():
        row = await connection.fetchrow(SQL["create"], name, secret.id, secret.secret_sha256)
        if row is None:
            raise Conflict(
                f"There is, or was, an operator {name}: take another name, so that the audit log says who it was."
            )
        await note(connection, author, "operator.create", f"operator:{name}", None, {"operator": name})
    return secret.text


async def create_token(
    pool: asyncpg.Pool,
    operator: str,
    scopes: tuple[str, ...],
    expires_at: datetime | None,
    *,
    author: Author | None = None,
) -> NewToken:
    """Create a token for an operator. Raises `NotFound`, `InvalidRequest` for unknown scopes, `Conflict` if the operator is
    revoked.
    """
    if not scopes or set(scopes) - set(SCOPES):
        raise InvalidRequest(f"Scopes are a comma list of {', '.join(SCOPES)}.")
    if expires_at is not None and expires_at <= clock.utc_now():
        raise InvalidRequest("The time of expiry has passed already.")
    minted = tokens.mint(PREFIX)
    async with in_turn(pool, SQL["lock"], operator, TURN_TIMEOUT_S) as connection:
        if (await _existing(connection, operator)).revoked_at:
            raise Conflict(f"Operator {operator} is revoked: create another one.")
        arguments = (minted.id, operator, minted.secret_sha256, list(scopes), expires_at)
        row = _token(await connection.fetchrow(SQL["create_token"], *arguments)).row()
        await note(connection, author, "operator.token", f"operator:{operator}", None, row)
    return NewToken(minted.text, row)


async def list_operators(pool: asyncpg.Pool) -> list[OperatorRow]:
    """All operators, oldest first, revoked ones too."""
    found: dict[str, list[TokenRow]] = {}
    for row in await pool.fetch(SQL["tokens"]):
        found.setdefault(row["operator"], []).append(_token(row).row())
    operators = [_operator(row) for row in await pool.fetch(SQL["list"])]
    return [msgspec.structs.replace(one, tokens=tuple(found.get(one.operator, ()))) for one in operators]


async def revoke_operator(
    pool: asyncpg.Pool, name: str, *, token_id: str | None = None, author: Author | None = None
) -> OperatorRow:
    """Revoke an operator with all tokens and the sign-in, or one token alone. Doing it again changes nothing. Raises
    `NotFound`.
    """
    async with in_turn(pool, SQL["lock"], name, TURN_TIMEOUT_S) as connection:
        await _existing(connection, name)
        if token_id is None:
            if revoked_at := await connection.fetchval(SQL["revoke"], name):
                await _note_end(connection, author, "operator.revoke", f"operator:{name}", revoked_at)
        else:
            await _revoke_token(connection, name, token_id, author)
    return next(one for one in await list_operators(pool) if one.operator == name)


async def find_token(pool: asyncpg.Pool, token_id: str) -> Token | None:
    """The row of a token, or None."""
    row = await pool.fetchrow(SQL["find_token"], token_id)
    return None if row is None else _token(row)


async def _revoke_token(connection: Connection, name: str, token_id: str, author: Author | None) -> None:
    row = await connection.fetchrow(SQL["find_token"], token_id)
    if row is None or row["operator"] != name:
        raise NotFound(
            f"Operator {name} has no token {token_id[: tokens.ID_LENGTH]}: `rebootml operator list` shows them."
        )
    if revoked_at := await connection.fetchval(SQL["revoke_token"], token_id):
        await _note_end(connection, author, "operator.token.revoke", f"operator:{name}/token:{token_id}", revoked_at)


async def _note_end(
    connection: Connection, author: Author | None, action: str, target: str, revoked_at: datetime
) -> None:
    await note(connection, author, action, target, {"revoked_at": None}, {"revoked_at": revoked_at})


async def _existing(connection: Connection, name: str) -> OperatorRow:
    row = await connection.fetchrow(SQL["find"], name)
    if row is None:
        raise NotFound(f"No operator {name}.")
    return _operator(row)


def _operator(row: asyncpg.Record) -> OperatorRow:
    return OperatorRow(operator=row["name"], created_at=row["created_at"], revoked_at=row["revoked_at"])


def _token(row: asyncpg.Record | None) -> Token:
    if row is None:
        raise AssertionError("an insert gives its row")
    return Token(**dict(row) | {"scopes": tuple(row["scopes"])})
