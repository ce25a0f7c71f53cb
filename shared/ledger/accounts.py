"""Accounts: a name and a prepaid wallet in nano-USD."""

from __future__ import annotations

import asyncpg
import msgspec

from shared.errors import Conflict, InvalidRequest, NotFound
from shared.ids import new_id
from shared.money import NanoUsd, UsdText, nano_to_usd
from shared.settings import TURN_TIMEOUT_S
from shared.stores.postgres import load_queries
from shared.stores.turns import patiently

SQL = load_queries("accounts")
NAME_LENGTH_MAX = 200


class Wallet(msgspec.Struct, frozen=True, kw_only=True):
    """An account as its owner sees it. `held_usd` is what running requests may still spend; `available_usd` is the rest."""

    account_id: str
    name: str
    balance_usd: UsdText
    held_usd: UsdText
    available_usd: UsdText


class Account(msgspec.Struct, frozen=True):
    """A wallet: `held` is the part of `balance` that running requests may still spend."""

    id: str
    name: str
    balance: NanoUsd
    held: NanoUsd

    def public(self) -> Wallet:
        """The public form."""
        return Wallet(
            account_id=self.id,
            name=self.name,
            balance_usd=nano_to_usd(self.balance),
            held_usd=nano_to_usd(self.held),
            available_usd=nano_to_usd(self.balance - self.held),
        )


async def create_account(pool: asyncpg.Pool, name: str, credit: NanoUsd) -> Account:
    """A new account with `credit` in its wallet, both or neither. Raises `InvalidRequest` for a bad name or amount."""
    if not 1 <= len(name) <= NAME_LENGTH_MAX or "\0" in name:
        raise InvalidRequest(f"An account's name has 1 to {NAME_LENGTH_MAX} characters.")
    if credit < 0:
        raise InvalidRequest("A new account's credit cannot be negative.")
    account_id = new_id("acc")
    async with pool.acquire() as connection, connection.transaction():
        await connection.execute(SQL["create"], account_id, name)
        if credit:
            await connection.execute(SQL["credit"], account_id, credit, None, "opening credit")
    return Account(account_id, name, credit, NanoUsd(0))


async def find_account(pool: asyncpg.Pool, account_id: str) -> Account:
    """Raises `NotFound`."""
    row = await pool.fetchrow(SQL["find"], account_id)
    if row is None:
        raise NotFound(f"No account {account_id}.")
    return Account(*row)


async def list_accounts(pool: asyncpg.Pool) -> list[Account]:
    """Every account, oldest first."""
    return [Account(*row) for row in await pool.fetch(SQL["list"])]


async def credit_account(
    pool: asyncpg.Pool,
    account_id: str,
    amount: NanoUsd,
    *,
    ref: str | None,
    note: str | None,
    within_s: float = TURN_TIMEOUT_S,
) -> Account:
    """Add `amount`, or take it back when negative; the same `ref` again changes nothing.

    Raises `NotFound`, `InvalidRequest` for zero or an empty reference, `Conflict` when less than what is held would remain,
    or when the reference was used for another amount.
    """
    if amount == 0:
        raise InvalidRequest("The amount is zero: give USD such as 25 or -5.")
    if ref is not None and not ref.strip():
        raise InvalidRequest("The reference is empty: leave it out, or give one that says which payment this is.")
    try:
        ((credited,),) = await patiently(pool, within_s, SQL["credit"], account_id, amount, ref, note)
    except asyncpg.NoDataFoundError:
        raise NotFound(f"No account {account_id}.") from None
    except asyncpg.CheckViolationError:
        raise Conflict("Refused: it would take the balance below what running requests hold.") from None
    except asyncpg.NumericValueOutOfRangeError:
        raise InvalidRequest("Refused: the balance would pass what an account can hold.") from None
    if not credited and await pool.fetchval(SQL["credited"], account_id, ref) != amount:
        raise Conflict("This reference has been used for another amount: give each payment its own.")
    return await find_account(pool, account_id)
