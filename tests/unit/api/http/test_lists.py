"""Long lists are made in pieces, one after the other, and accounts take turns with them."""

from __future__ import annotations

import asyncio

import pytest

from api.http.lists import SHORT_ROWS, Lists, batched
from shared.errors import Overloaded

WITHIN_S = 20.0
FULL = range(SHORT_ROWS)


async def test_others_have_a_turn_after_each_full_piece() -> None:
    turns: list[str] = []

    async def other() -> None:
        while len(turns) < 10:
            turns.append("other")
            await asyncio.sleep(0)

    async with Lists(WITHIN_S).one("acc_1") as listing:
        await listing.step()
        others = asyncio.ensure_future(other())
        for _ in range(3):
            turns.append("piece")
            await listing.after(FULL)
    await others
    for piece in range(2):
        begin = [place for place, whose in enumerate(turns) if whose == "piece"][piece]
        assert turns[begin + 1] == "other"


async def test_a_list_of_one_piece_waits_for_nobody() -> None:
    lists = Lists(WITHIN_S)
    async with lists.one("acc_1") as long:
        await long.step()
        async with lists.one("acc_1") as short:
            await short.after(FULL[:-1])


async def test_one_list_is_made_at_a_time_and_accounts_take_turns() -> None:
    """Whoever asks for many has one of them made, then others have one made."""
    lists = Lists(WITHIN_S)
    made: list[str] = []

    async def make(account: str, name: str) -> None:
        async with lists.one(account) as listing:
            await listing.after(FULL)
            made.append(name)
            await listing.after(FULL)
            made.append(name)

    async with asyncio.TaskGroup() as group:
        for name in ("a1", "a2", "a3"):
            group.create_task(make("acc_a", name))
        group.create_task(make("acc_b", "b1"))
    assert made == ["a1", "a1", "b1", "b1", "a2", "a2", "a3", "a3"]


async def test_a_list_that_fails_gives_its_turn_back() -> None:
    lists = Lists(WITHIN_S)

    async def fail() -> None:
        async with lists.one("acc_1") as listing:
            await listing.step()
            raise ConnectionError

    with pytest.raises(ConnectionError):
        await fail()
    async with asyncio.timeout(5), lists.one("acc_1") as listing:
        await listing.step()


async def test_a_list_does_not_wait_for_ever() -> None:
    lists = Lists(within_s=0.01)
    async with lists.one("acc_1") as first:
        await first.step()
        for account in ("acc_1", "acc_2"):
            async with lists.one(account) as second:
                with pytest.raises(Overloaded, match="long lists"):
                    await second.step()
    async with lists.one("acc_2") as again:
        await again.step()


def test_rows_come_in_pieces() -> None:
    assert [list(piece) for piece in batched(range(5), 2)] == [[0, 1], [2, 3], [4]]
    assert list(batched([], 2)) == []
