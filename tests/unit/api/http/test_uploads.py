from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import pytest

from api.http.uploads import BASE_BYTES, UploadMemory, Uploads
from shared.errors import Overloaded, RateLimited
from shared.settings import Settings

SOON_S = 0.02


def uploads(**given: int) -> Uploads:
    limits = {"uploads_max": 3, "uploads_per_account_max": 2, "uploads_bytes_max": 40, "batch_line_bytes_max": 5}
    given = limits | given
    return Uploads(
        Settings(database_url="", redis_url="", body_within_s=SOON_S, **given)  # type: ignore[arg-type]
    )


async def test_an_account_has_only_so_many_and_a_front_door_only_so_many() -> None:
    door = uploads()
    async with AsyncExitStack() as stack:
        for account in ("a", "a", "b"):
            await stack.enter_async_context(door.one_more(account))
        assert door._budget.used == 3 * BASE_BYTES
        with pytest.raises(RateLimited, match="sending 2 files"):
            await stack.enter_async_context(door.one_more("a"))
        with pytest.raises(Overloaded, match="3 files are being sent"):
            await stack.enter_async_context(door.one_more("b"))
    assert door._budget.used == 0
    async with door.one_more("a"):
        pass


def wide_uploads() -> Uploads:
    """With room for two long lines, of which an account may have one."""
    return uploads(uploads_bytes_max=4 * BASE_BYTES + 40, batch_line_bytes_max=BASE_BYTES + 10)


async def test_a_long_line_waits_for_room_and_an_account_has_half_of_it() -> None:
    door = wide_uploads()
    async with door.one_more("a") as first, door.one_more("a") as second, door.one_more("b") as third:
        for memory in (first, first, third):
            await memory.widen()
        assert (first.is_wide, third.is_wide) == (True, True)
        with pytest.raises(Overloaded, match="no room"):
            await second.widen()
        waits = asyncio.ensure_future(second.widen())
        await asyncio.sleep(0)
        first.narrow()
        await waits
    assert door._budget.used == 0


async def test_nothing_is_held_any_more_after_an_upload_that_broke_off() -> None:
    door, memories = wide_uploads(), list[UploadMemory]()

    async def break_off() -> None:
        async with door.one_more("a") as memory:
            await memory.widen()
            memories.append(memory)
            raise ConnectionError

    with pytest.raises(ConnectionError):
        await break_off()
    assert (door._budget.used, memories[0].is_wide) == (0, False)
    assert not door._under_way
