"""Accounts: a name and a prepaid wallet in nano-USD."""

from __future__ import annotations

import asyncpg
import msgspec

from shared.errors import Conflict, InvalidRequest, NotFound
from shared.ids import new_id
from shared.money import NanoUsd, UsdText, nano_to_usd
from shared.operators.audit import Author
from shared.operators.audit import note as note_change
from shared.settings import TURN_TIMEOUT_S
from shared.stores.postgres import Connection, load_queries, transaction
from shared.stores.turns import in_turn

SQL = load_queries("accounts")
NAME_LENGTH_MAX = 200


class Wallet(msgspec.Struct, frozen=True, kw_only=True):
    """An account for its owner. `held_usd` is the part that running requests may still spend; `available_usd` is the
    rest.
    """

    account_id: str
    """The account's id, `acc_…`."""
    name: str
    """The name that an operator gave the account."""
    balance_usd: UsdText
    """The account's credit in USD, including what running requests hold, as a decimal string."""
    held_usd: UsdText
    """The USD that running requests may still spend, as a decimal string."""
    available_usd: UsdText
    """The USD that new requests may use: `balance_usd` without `held_usd`, as a decimal string."""


class Account(msgspec.Struct, frozen=True):
    """A wallet: `held` is the part of `balance` that running requests may still spend."""

    id: str
    name: str
    balance: NanoUsd
    held: NanoUsd

    def public(self) -> Wallet:
        """The account for its owner."""
        return Wallet(
            account_id=self.id,
            name=self.name,
            balance_usd=nano_to_usd(self.balance),
            held_usd=nano_to_usd(self.held),
            available_usd=nano_to_usd(self.balance - self.held),
        )


async def create_account(
    source: asyncpg.Pool | Connection, name: str, credit: NanoUsd, *, author: Author | None = None
) -> Account:
    """Create an account with `credit` in its wallet; both are created or neither is. Raises `InvalidRequest` for a bad name
    or amount.
    """
    if not 1 <= len(name) <= NAME_LENGTH_MAX or "\0" in name:
        raise InvalidRequest(f"An account's name has 1 to {NAME_LENGTH_MAX} characters.")
    if credit < 0:
        raise InvalidRequest("A new account's credit cannot be negative.")
    account = Account(new_id("acc"), name, credit, NanoUsd(0))
    async with transaction(source) as connection:
        await connection.execute(SQL["create"], account.id, name)
        if credit:
            await connection.execute(SQL["credit"], account.id, credit, None, "opening credit")
        await note_change(connection, author, "account.create", f"account:{account.id}", None, account.public())
    return account


def no_such_account(account_id: str) -> NotFound:
    """The error for an id that no account has."""
    return NotFound(
        f"No account {account_id[:100]}: `rebootml account list` and GET /operator/accounts list all of them."
    )


async def find_account(source: asyncpg.Pool | Connection, account_id: str) -> Account:
    """The account with this id. Raises `NotFound`."""
    row = await source.fetchrow(SQL["find"], account_id)
    if row is None:
        raise no_such_account(account_id)
    return Account(*row)


async def list_accounts(pool: asyncpg.Pool, *, after: str = "", limit: int | None = None) -> list[Account]:
    """All accounts, oldest first, or at most `limit` accounts after the account `after`."""
    return [Account(*row) for row in await pool.fetch(SQL["list"], after, limit)]


async def credit_account(
    source: asyncpg.Pool | Connection,
    account_id: str,
    amount: NanoUsd,
    *,
    ref: str | None,
    note: str | None,
    within_s: float = TURN_TIMEOUT_S,
    author: Author | None = None,
) -> Account:
    """Add `amount` to the wallet, or take it back if it is negative. The same `ref` again changes nothing. Raises
    `NotFound`; `InvalidRequest` for zero or an empty reference; `Conflict` if less than the held credit would remain, or if
    the reference was used for another amount.
    """
    if amount == 0:
        raise InvalidRequest("The amount is zero: give USD such as 25 or -5.")
    if ref is not None and not ref.strip():
        raise InvalidRequest("The reference is empty: leave it out, or give one that says which payment this is.")
    async with in_turn(source, SQL["lock"], account_id, within_s) as connection:
        credited = await _credit(connection, account_id, amount, ref, note)
        if not credited and await connection.fetchval(SQL["credited"], account_id, ref) != amount:
            raise Conflict("This reference has been used for another amount: give each payment its own.")
        after = await find_account(connection, account_id)
        if credited:
            change = {"balance_usd": after.public().balance_usd, "usd": nano_to_usd(amount), "ref": ref, "note": note}
            target = f"account:{account_id}"
            was = {"balance_usd": nano_to_usd(NanoUsd(after.balance - amount))}
            await note_change(connection, author, "account.credit", target, was, change)
    return after


async def _credit(
    connection: Connection, account_id: str, amount: NanoUsd, ref: str | None, remark: str | None
) -> bool:
    """Add the amount; False if the reference was used before."""
    try:
        return bool(await connection.fetchval(SQL["credit"], account_id, amount, ref, remark))
    except asyncpg.NoDataFoundError:
        raise no_such_account(account_id) from None
    except asyncpg.CheckViolationError:
        raise Conflict("Refused: it would take the balance below what running requests hold.") from None
    except asyncpg.NumericValueOutOfRangeError:
        raise InvalidRequest("Refused: the balance would pass what an account can hold.") from None
