"""`/operator/accounts` and `/operator/keys`: accounts, their credit and their keys, for operators."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated

import msgspec
from aiohttp import web
from msgspec import UNSET, UnsetType

from api.formats.native.keys import CREATE_HINT, CreatedKey, NewKeyBody, rules_of
from api.formats.parsing import in_nano, parse_query
from api.operators import Asker, Ref, answered, asker, body_of, changed_once, kept, result
from shared import clock, tokens
from shared.errors import Conflict, NotFound
from shared.ledger import accounts, api_keys
from shared.ledger.accounts import NAME_LENGTH_MAX, Wallet
from shared.operators.refs import Kept, Once
from shared.patterns import told_as
from shared.stores.postgres import Connection, reached

LIMIT_DEFAULT, LIMIT_MAX = 100, 1_000
NOTE_LENGTH_MAX = 1_000
LISTED_PER_USABLE = 2
ACCOUNTS, KEYS = "The accounts", "The keys"
NO_NUL = told_as("text without NUL", r"^[^\x00]*$")
Text = Annotated[str, msgspec.Meta(max_length=NOTE_LENGTH_MAX, pattern=NO_NUL)]
Name = Annotated[str, msgspec.Meta(min_length=1, max_length=NAME_LENGTH_MAX, pattern=NO_NUL)]


class AccountsQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The page of the list that is asked for."""

    limit: Annotated[int, msgspec.Meta(ge=1, le=LIMIT_MAX, description="The most accounts on a page.")] = LIMIT_DEFAULT
    cursor: (
        Annotated[str, msgspec.Meta(description="The `next_cursor` of the page before; left out for the first page.")]
        | UnsetType
    ) = UNSET


class Accounts(msgspec.Struct, frozen=True, kw_only=True):
    """A page of the accounts, oldest first."""

    accounts: list[Wallet]
    """The accounts of this page."""
    next_cursor: str | None
    """The `cursor` of the next page; null on the last one."""


class NewAccountBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A new account, with credit if wanted."""

    name: Name
    """The account's name, for people; names need not be unique."""
    ref: Ref
    """Your own name of this change; sending the same `ref` again returns the first answer and changes nothing."""
    credit_usd: Decimal | None = None
    """The account's first credit, in USD; 0 by default."""


class CreditBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An amount to add to an account's credit, or to take back from it."""

    usd: Decimal
    """USD to add; negative takes back, never below what running requests hold."""
    ref: Ref
    """Your own name of this payment; an account is credited once for each."""
    note: Text | None = None
    """A remark for the account's ledger."""


class OperatorKeyBody(NewKeyBody, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The rules of a new key; a limit that is left out does not apply."""

    ref: Ref
    """Your own name of this change; for a day, sending the same `ref` again shows the same key again."""


_account_decoder = msgspec.json.Decoder(NewAccountBody)
_credit_decoder = msgspec.json.Decoder(CreditBody)
_key_decoder = msgspec.json.Decoder(OperatorKeyBody)


async def get_accounts(request: web.Request) -> web.Response:
    """Every account with its wallet, oldest first."""
    who = await asker(request, "read")
    query = parse_query(request.query, AccountsQuery)
    async with reached(ACCOUNTS):
        found = await accounts.list_accounts(who.services.pool, after=query.cursor or "", limit=query.limit + 1)
    page = found[: query.limit]
    cursor = page[-1].id if len(found) > query.limit else None
    return result(Accounts(accounts=[account.public() for account in page], next_cursor=cursor))


async def post_account(request: web.Request) -> web.Response:
    """Create an account, with credit if wanted."""
    who = await asker(request, "accounts")
    body = await body_of(request, who, _account_decoder, "It takes name, credit_usd and ref")
    credit = in_nano("credit_usd", body.credit_usd or Decimal(0))

    async def create(connection: Connection) -> Kept:
        return kept((await accounts.create_account(connection, body.name, credit, author=who.author)).public())

    return answered(await changed_once(request, who, body, create, ACCOUNTS), 201)


async def get_account(request: web.Request) -> web.Response:
    """One account with its wallet."""
    who = await asker(request, "read")
    async with reached(ACCOUNTS):
        account = await accounts.find_account(who.services.pool, request.match_info["id"])
    return result(account.public())


async def post_credit(request: web.Request) -> web.Response:
    """Add credit or take it back; the answer is the account afterwards."""
    who = await asker(request, "accounts")
    body = await body_of(request, who, _credit_decoder, "It takes usd, ref and note")
    usd = in_nano("usd", body.usd)

    async def credit(connection: Connection) -> Kept:
        account = await accounts.credit_account(
            connection, request.match_info["id"], usd, ref=body.ref, note=body.note, author=who.author
        )
        return kept(account.public())

    return answered(await changed_once(request, who, body, credit, ACCOUNTS))


async def get_keys(request: web.Request) -> web.Response:
    """Every usable key of the account and the newest ended ones, oldest first."""
    who = await asker(request, "read")
    rows_max = who.services.settings.keys_per_account_max * LISTED_PER_USABLE
    async with reached(KEYS):
        account = await accounts.find_account(who.services.pool, request.match_info["id"])
        keys = await api_keys.list_keys(who.services.pool, account.id, rows_max=rows_max)
    return result([key.row() for key in keys])


async def post_key(request: web.Request) -> web.Response:
    """Create a key of the account. For a day, the same `ref` shows the key again to the token that created it."""
    who = await asker(request, "keys")
    body = await body_of(request, who, _key_decoder, f"{CREATE_HINT}, and ref")
    rules, account_id = rules_of(body, clock.utc_now()), request.match_info["id"]

    async def create(connection: Connection) -> Kept:
        salt = tokens.new_salt()
        new = await api_keys.create_key(
            connection, account_id, rules, author=who.author, secret=tokens.derived(who.secret, salt)
        )
        return kept(new.stored.row(), salt)

    found = await changed_once(request, who, body, create, KEYS)
    return result(await _with_key(who, found), 201, repeated=found.repeated)


async def delete_key(request: web.Request) -> web.Response:
    """Revoke a key; front doors notice within `AUTH_CACHE_S`. Revoking it again changes nothing."""
    who = await asker(request, "keys")
    key_id = request.match_info["key_id"]
    if not (key_id.isascii() and key_id.isalnum()):
        raise NotFound("There is no such key.")
    async with reached(KEYS):
        within_s = who.services.settings.turn_timeout_s
        key = await api_keys.revoke_key(who.services.pool, key_id, within_s=within_s, author=who.author)
    return result(key.row())


async def _with_key(who: Asker, found: Once) -> CreatedKey:
    """The created key. Its secret is stored nowhere: it is derived from the operator's token and the salt of the
    `ref`.
    """
    row = msgspec.json.decode(found.kept.answer, type=api_keys.KeyRow)
    secret = tokens.derived(who.secret, found.kept.salt) if found.kept.salt else ""
    async with reached(KEYS):
        stored = await api_keys.find_key(who.services.pool, row.key_id)
    if stored is None or not stored.proves(secret):
        raise Conflict(
            f"This `ref` made the key {row.key_id}, which is shown again for a day only, and to the token that asked first:"
            " revoke it, and make another one."
        )
    key = tokens.joined(api_keys.PREFIX, row.key_id, secret)
    return CreatedKey(key=key, **msgspec.structs.asdict(row))
