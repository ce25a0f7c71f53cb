from __future__ import annotations

import msgspec
import pytest

from shared.ledger.pinned_price import PinnedPrice, pinned, price_of
from shared.money import LongContext, Price
from tests.harness.builders import a_reservation

PLAIN = Price(3, 5, 1)
LONG = LongContext(6, 9, 2, 7, 8, above=100)
EVERY_FORM = Price(3, 5, 1, 4, 6, LONG)


def _row(price: Price, input_bound: int) -> dict[str, object]:
    reservation = a_reservation("acc_of_nobody", **pinned(price, "0123456789ab", input_bound))
    return msgspec.structs.asdict(reservation)


@pytest.mark.parametrize(
    "price", [Price(3, 5), PLAIN, EVERY_FORM, Price(3, 5, long_context=LongContext(6, 9, above=1))]
)
def test_a_row_gives_back_the_price_that_it_was_made_of(price: Price) -> None:
    assert price_of(_row(price, 10)) == price


def test_the_hold_is_at_the_tier_that_the_input_can_reach() -> None:
    held = [[_row(EVERY_FORM, bound)[f"hold_{kind}_price"] for kind in ("input", "output")] for bound in (100, 101)]
    assert held == [[6, 5], [8, 9]]


def test_what_a_price_does_not_have_is_not_sent() -> None:
    sent = msgspec.to_builtins(a_reservation("acc_of_nobody", **pinned(PLAIN, "0123456789ab", 10)))
    assert not [name for name in sent if name.startswith(("long_", "cache_write"))]
    assert set(PinnedPrice.__struct_fields__) & set(sent) == {
        "price_version",
        "input_price",
        "output_price",
        "cached_price",
    }
