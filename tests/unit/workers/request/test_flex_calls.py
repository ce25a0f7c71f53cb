"""How a request at the tier flex waits for capacity: by what its vendor says, call after call."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator
from typing import Any

import pytest

from shared.catalogue.models import DefaultPrices
from shared.errors import Expired, ProviderBusy, ProviderError, RebootError
from shared.job import Job
from shared.money import Usage
from shared.runtime.growing_room import GrowingRoom
from shared.settings import Settings
from tests.harness.builders import PRICE, a_job, a_model
from tests.harness.routing import routes_to
from workers.providers.protocol import Finished, Piece, ProviderRequest, Reported, ServedAt
from workers.request.billing import Received
from workers.request.vendor_calls import VendorCalls

FLEX = a_model(service_tier="flex", at_default=DefaultPrices(PRICE, PRICE))
QUICK = Settings(database_url="", redis_url="", retry_delay_s=0.001, retry_delay_max_s=0.002, batch_retries_max=1)


class Vendor:
    """Fails with each of `failures`, then answers."""

    def __init__(self, *failures: RebootError) -> None:
        self._failures = list(failures)

    async def stream(self, _: ProviderRequest) -> AsyncGenerator[Piece, None]:
        yield ServedAt("default")
        if self._failures:
            raise self._failures.pop(0)
        yield ServedAt("flex")
        yield "Hi"
        yield Reported(Usage(1, 1))
        yield Finished("stop")

    async def close(self) -> None:
        pass


class Told:
    """In the place of `Paces`, and of a Redis that nobody has asked to cancel anything."""

    def __init__(self) -> None:
        self.paced: list[tuple[str, str]] = []

    def known(self, _: str) -> int:
        return 1

    def is_in_turn(self, _: str) -> bool:
        return False

    def succeeded(self, model: str, *_: float) -> None:
        self.paced.append((model, "succeeded"))

    async def throttled(self, model: str, *_: float | None, is_repeat: bool) -> bool:
        self.paced.append((model, "throttled"))
        return not is_repeat

    async def zmscore(self, _: str, ids: list[str]) -> list[None]:
        return [None for _ in ids]


async def _called(job: Job, vendor: Vendor, told: Told) -> Received:
    received = Received()

    async def take(_: object) -> None:
        pass

    stand_in: Any = told
    routes = routes_to(vendor, job.model.api, paces=stand_in)
    room = GrowingRoom("vendor answers", total=1_000, free=1_000).of(job.account_id)
    calls = VendorCalls(
        job,
        routes,
        stand_in,
        QUICK,
        received=received,
        take=take,
        forget=lambda: None,
        on_vendor_has_call=lambda _: None,
        room=room,
    )
    await calls.until_one_works()
    return received


async def test_missing_capacity_is_waited_out_however_often_and_slows_no_ordinary_call() -> None:
    told = Told()
    received = await _called(a_job(model=FLEX), Vendor(*[ProviderBusy("full")] * 40), told)
    assert (received.calls, received.refused, received.served_tier) == (41, 40, "flex")
    assert {name for name, _ in told.paced} == {"openai/openai-gpt-4o:flex"}


async def test_other_failures_are_counted_apart_and_have_their_own_end() -> None:
    full, broken = ProviderBusy("full"), ProviderError("broken")
    received = await _called(a_job(model=FLEX), Vendor(full, full, full, broken, full, broken), Told())
    assert (received.calls, received.refused) == (7, 4)
    with pytest.raises(ProviderError, match="broken"):
        await _called(a_job(model=FLEX), Vendor(full, *[broken] * 3), Told())


async def test_who_finds_no_capacity_until_the_deadline_has_expired() -> None:
    job = a_job(model=FLEX, deadline_ms=int(time.time() * 1000) + 20)
    with pytest.raises(Expired, match="capacity"):
        await _called(job, Vendor(*[ProviderBusy("full")] * 1_000), Told())


async def test_an_ordinary_call_gives_up_as_it_did() -> None:
    told = Told()
    with pytest.raises(ProviderBusy):
        await _called(a_job(), Vendor(*[ProviderBusy("full")] * 3), told)
    assert {name for name, _ in told.paced} == {"openai/openai-gpt-4o"}
