from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from workers.batches.shares import Hungry, Running, shares

NONE = Running(Counter(), Counter(), Counter())
batches = st.lists(
    st.tuples(st.sampled_from("abcd"), st.integers(1, 30)).map(lambda pair: Hungry("", *pair)), max_size=12
).map(lambda found: [one._replace(batch_id=f"batch-{number}") for number, one in enumerate(found)])


def test_small_ones_are_fed_although_a_large_one_came_first() -> None:
    hungry = [Hungry("large", "a", 50_000), *(Hungry(f"small-{n}", f"b{n}", 10) for n in range(20))]
    given_now = shares(42, hungry, NONE)
    assert given_now == {"large": 2, **{f"small-{n}": 2 for n in range(20)}}


def test_an_accounts_own_batches_take_turns() -> None:
    hungry = [Hungry("large", "a", 50_000), Hungry("small", "a", 10)]
    assert shares(10, hungry, NONE) == {"large": 5, "small": 5}


def test_who_has_much_under_way_waits_until_the_others_have_as_much() -> None:
    hungry = [Hungry("large", "a", 50_000), Hungry("small", "b", 10)]
    assert shares(6, hungry, Running(Counter(a=100), Counter(large=100), Counter())) == {"small": 6}


@given(st.integers(0, 100), batches)
def test_nothing_free_is_left_while_somebody_is_hungry_and_nobody_gets_more_than_he_has(
    free: int, hungry: list[Hungry]
) -> None:
    given_now = shares(free, hungry, NONE)
    left = {one.batch_id: one.lines for one in hungry}
    assert all(0 < count <= left[batch] for batch, count in given_now.items())
    assert sum(given_now.values()) == min(free, sum(left.values()))


@given(st.integers(0, 100), batches)
def test_no_account_gets_two_more_than_another_that_has_lines_left(free: int, hungry: list[Hungry]) -> None:
    given_now = shares(free, hungry, NONE)
    of_account: Counter[str] = Counter({one.account_id: 0 for one in hungry})
    left: Counter[str] = Counter()
    for one in hungry:
        of_account[one.account_id] += given_now.get(one.batch_id, 0)
        left[one.account_id] += one.lines - given_now.get(one.batch_id, 0)
    most = max(of_account.values(), default=0)
    assert all(most - count <= 1 for account, count in of_account.items() if left[account])
