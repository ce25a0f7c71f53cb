"""What breaks when a guard of chains, requests that several models may serve, is taken out of the ledger's SQL."""

from __future__ import annotations

from typing import Any

import msgspec

from shared.ledger.chains import PinnedModel
from shared.ledger.rows import Reservation
from tests.harness.builders import NANO_PER_TOKEN, a_release, a_reservation, a_settlement
from tests.integration.books import Wallet, assert_books_balance, request_row, wallet
from tests.integration.ledger.scratch import Mutant, Scratch

DEAR = {"model": "dear", "price_version": "dear today", "output_price": 3 * NANO_PER_TOKEN}


def a_chain(account: str, *others: dict[str, Any], **own: Any) -> Reservation:
    """One nano-USD for each of 10 tokens of input and of up to 20 of output, and further models that differ from that."""
    base = {"input_bound": 10, "output_price": NANO_PER_TOKEN, "output_limit": 20, "output_floor": 1}
    wish = a_reservation(account, **(base | own))
    first = {name: getattr(wish, name) for name in PinnedModel.__struct_fields__}
    chain = tuple(PinnedModel(**(first | other)) for other in ({}, *others))
    return msgspec.structs.replace(wish, chain=chain, output_limit=max(one.output_limit for one in chain))


async def a_chain_is_held_once_for_its_dearest_model(scratch: Scratch) -> None:
    account = await scratch.account(1_000)
    wish = a_chain(account, DEAR, {"model": "shown more", "input_bound": 60, "output_limit": 9})
    assert await scratch.reserve(wish) == ["admitted"]
    assert await wallet(scratch.pool, account) == Wallet(1_000, 10 + 3 * 20, 1)


async def each_model_is_held_for_no_more_than_its_own_limit(scratch: Scratch) -> None:
    account = await scratch.account(1_000)
    assert await scratch.reserve(a_chain(account, DEAR | {"output_limit": 4})) == ["admitted"]
    assert await wallet(scratch.pool, account) == Wallet(1_000, 10 + 20, 1)


async def the_limit_is_lowered_until_each_model_can_be_afforded(scratch: Scratch) -> None:
    account = await scratch.account(40)
    wish = a_chain(account, DEAR, {"model": "dearer", "output_price": 4 * NANO_PER_TOKEN, "output_limit": 8})
    assert await scratch.reserve(wish) == ["admitted"]
    row = await request_row(scratch.pool, wish)
    assert (row["output_limit"], row["hold_nano"]) == (7, 10 + 4 * 7)
    await assert_books_balance(scratch.pool)


async def a_chain_below_its_floor_is_refused(scratch: Scratch) -> None:
    account = await scratch.account(40)
    assert await scratch.reserve(a_chain(account, DEAR, output_floor=11)) == ["credit"]


async def a_request_becomes_that_of_the_model_that_served_it(scratch: Scratch) -> None:
    account = await scratch.account(1_000)
    wish = a_chain(account, DEAR | {"provider": "gemini", "output_limit": 12})
    await scratch.reserve(wish)
    end = a_settlement(wish, 10 + 3 * 5, tokens_input=10, tokens_output=5, served="dear")
    assert await scratch.settle(end) == ["settled"]
    row = await request_row(scratch.pool, wish)
    told = ("model", "provider", "price_version", "output_price", "output_limit", "charged_nano")
    assert [row[name] for name in told] == ["dear", "gemini", "dear today", 3 * NANO_PER_TOKEN, 12, 25]
    await assert_books_balance(scratch.pool)


async def what_has_ended_is_no_other_models_afterwards(scratch: Scratch) -> None:
    account = await scratch.account(1_000)
    wish = a_chain(account, DEAR)
    await scratch.reserve(wish)
    await scratch.settle(a_settlement(wish, 15, tokens_input=10, tokens_output=5, served=wish.model))
    await scratch.settle(a_release(wish, served="dear"))
    assert (await request_row(scratch.pool, wish))["model"] == wish.model
    await assert_books_balance(scratch.pool)


CHAIN_MUTANTS = [
    Mutant(a_chain_is_held_once_for_its_dearest_model, "hold_of_chain", "max(div_up", "min(div_up"),
    Mutant(
        each_model_is_held_for_no_more_than_its_own_limit,
        "hold_of_chain",
        "LEAST($2, (link->>'output_limit')::bigint)",
        "$2",
    ),
    Mutant(the_limit_is_lowered_until_each_model_can_be_afforded, "limit_of_chain", "min(trunc", "max(trunc"),
    Mutant(
        the_limit_is_lowered_until_each_model_can_be_afforded,
        "chain_granted",
        "LEAST(granted, (link->>'output_limit')::integer)",
        "(link->>'output_limit')::integer",
    ),
    Mutant(
        the_limit_is_lowered_until_each_model_can_be_afforded,
        "reserve",
        "COALESCE(limit_in_chain(b.chain, b.model, g.output_limit), g.output_limit)",
        "20",
    ),
    Mutant(a_chain_below_its_floor_is_refused, "reserve", "GREATEST(item.output_floor, ", "GREATEST(0, "),
    *(
        Mutant(a_request_becomes_that_of_the_model_that_served_it, "settle_served", guard, "")
        for guard in (
            "model = s.model, ",
            "provider = s.provider, ",
            "price_version = s.price_version,",
            "output_price = s.output_price, ",
            "output_limit = s.output_limit, ",
        )
    ),
    Mutant(what_has_ended_is_no_other_models_afterwards, "settle_served", "AND r.hold_state = 'held'", ""),
]
