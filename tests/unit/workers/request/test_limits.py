from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

import pytest

from shared.errors import ProviderError, ProviderTimeout
from workers.providers.wire.vendor_errors import OutOfTime
from workers.request.limits import bounded

SOON = 0.02
NEVER = 60.0


class Vendor:
    """Says its words, then falls silent for ever; remembers whether it was closed."""

    def __init__(self, words: str, *, ends: bool = False, error: Exception | None = None) -> None:
        self.words = words
        self.ends = ends
        self.error = error
        self.closed = False

    async def speak(self) -> AsyncGenerator[str, None]:
        try:
            for word in self.words:
                yield word
            if self.error:
                raise self.error
            if not self.ends:
                await asyncio.Event().wait()
        finally:
            self.closed = True


async def _heard(vendor: Vendor, *, idle_s: float | None, total_s: float) -> str:
    return "".join([word async for word in bounded(vendor.speak(), idle_s=idle_s, total_s=total_s)])


async def test_a_vendor_that_ends_in_time_is_heard_in_full() -> None:
    vendor = Vendor("hello", ends=True)
    assert await _heard(vendor, idle_s=NEVER, total_s=NEVER) == "hello"
    assert vendor.closed


async def test_silence_between_two_pieces_ends_the_call_and_closes_it() -> None:
    vendor = Vendor("hel")
    with pytest.raises(ProviderTimeout, match=r"for 0\.02 s"):
        await _heard(vendor, idle_s=SOON, total_s=NEVER)
    assert vendor.closed


async def test_the_deadline_ends_a_call_that_has_no_idle_limit() -> None:
    vendor = Vendor("")
    with pytest.raises(ProviderTimeout, match="deadline"):
        await _heard(vendor, idle_s=None, total_s=SOON)
    assert vendor.closed


async def test_a_vendor_that_never_stops_talking_meets_the_deadline() -> None:
    async def endless() -> AsyncGenerator[str, None]:
        while True:
            await asyncio.sleep(0)
            yield "and "

    with pytest.raises(ProviderTimeout, match="deadline"):
        async for _ in bounded(endless(), idle_s=NEVER, total_s=SOON):
            pass


async def test_a_reader_that_takes_its_time_is_no_silent_vendor() -> None:
    vendor, heard = Vendor("abc", ends=True), ""
    async for word in bounded(vendor.speak(), idle_s=SOON, total_s=NEVER):
        heard += word
        await asyncio.sleep(2 * SOON)
    assert heard == "abc"


async def test_a_limit_that_was_met_leaves_the_task_as_it_was() -> None:
    with pytest.raises(ProviderTimeout):
        await _heard(Vendor("hel"), idle_s=SOON, total_s=NEVER)
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0
    await asyncio.sleep(0)


async def test_a_vendors_own_error_passes_unchanged() -> None:
    vendor = Vendor("hel", error=ProviderError("cut"))
    with pytest.raises(ProviderError, match="cut"):
        await _heard(vendor, idle_s=NEVER, total_s=NEVER)


async def test_a_vendors_own_timeout_is_a_provider_timeout() -> None:
    with pytest.raises(ProviderTimeout):
        await _heard(Vendor("hel", error=TimeoutError()), idle_s=NEVER, total_s=NEVER)


async def test_closing_early_closes_the_vendor() -> None:
    vendor = Vendor("hello")
    pieces = bounded(vendor.speak(), idle_s=NEVER, total_s=NEVER)
    assert await anext(pieces) == "h"
    await pieces.aclose()
    assert vendor.closed


async def test_cancelling_the_reader_closes_the_vendor() -> None:
    vendor = Vendor("")
    reader = asyncio.ensure_future(_heard(vendor, idle_s=NEVER, total_s=NEVER))
    await asyncio.sleep(0)
    reader.cancel()
    await asyncio.gather(reader, return_exceptions=True)
    assert reader.cancelled()
    assert vendor.closed


async def test_only_the_requests_own_time_is_no_fault_of_the_vendors() -> None:
    with pytest.raises(OutOfTime):
        await _heard(Vendor("a"), idle_s=None, total_s=SOON)
    with pytest.raises(ProviderTimeout) as silent:
        await _heard(Vendor("a"), idle_s=SOON, total_s=NEVER)
    assert not isinstance(silent.value, OutOfTime)


async def test_the_first_piece_may_have_a_limit_of_its_own() -> None:
    with pytest.raises(ProviderTimeout, match=f"for {SOON:g} s"):
        async for _ in bounded(Vendor("").speak(), idle_s=NEVER, total_s=NEVER, first_s=SOON):
            pass
    heard = bounded(Vendor("abc").speak(), idle_s=SOON, total_s=NEVER, first_s=NEVER)
    assert await anext(heard) == "a"
    with pytest.raises(ProviderTimeout):
        async for _ in heard:
            pass
