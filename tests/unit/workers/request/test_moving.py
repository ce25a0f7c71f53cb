"""When a call goes to another upstream: at once, and only before the first byte."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

import msgspec
import pytest

from shared.catalogue.upstreams import Upstream
from shared.errors import (
    InvalidRequest,
    ModelRetired,
    ProviderBusy,
    ProviderError,
    ProviderRejected,
    ProviderTimeout,
    RebootError,
)
from shared.job import Chunk, Job
from shared.money import Usage
from shared.runtime.growing_room import GrowingRoom
from shared.settings import Settings
from tests.harness.builders import a_job
from tests.harness.routing import routes_by
from workers.providers.protocol import Finished, Piece, ProviderRequest, Reported
from workers.providers.wire import vendor_errors
from workers.request.billing import Received
from workers.request.vendor_calls import VendorCalls

NEVER_WAITS = Settings(database_url="", redis_url="", retry_delay_s=3_600, retry_delay_max_s=3_600)
"""A retry in the same place would take an hour."""
ROWS = tuple(Upstream(name=name, provider="openai", priority=-place) for place, name in enumerate("abc"))


class Vendor:
    """Says something and fails, with one error after the other, then answers."""

    def __init__(self, *errors: RebootError, said: str = "") -> None:
        self._errors, self._said = list(errors), said
        self.asked = 0

    async def stream(self, _: ProviderRequest) -> AsyncGenerator[Piece, None]:
        self.asked += 1
        if self._said:
            yield self._said
        if self._errors:
            raise self._errors.pop(0)
        yield "Hi"
        yield Reported(Usage(1, 1))
        yield Finished("stop")

    async def close(self) -> None:
        pass


class NotCancelled:
    """Redis, in which nobody has asked to abort."""

    async def zmscore(self, _: str, ids: list[str]) -> list[None]:
        return [None for _ in ids]


async def _called(job: Job, *vendors: Vendor, settings: Settings = NEVER_WAITS) -> Received:
    received = Received()
    held = {row.name: {job.model.api: vendor} for row, vendor in zip(ROWS, vendors, strict=False)}
    redis: Any = NotCancelled()

    answer: list[object] = []

    async def take(part: object) -> None:
        answer.append(part)

    room = GrowingRoom("vendor answers", total=1_000, free=1_000).of(job.account_id)
    routes = routes_by(held, *ROWS)
    await VendorCalls(
        job,
        routes,
        redis,
        settings,
        received=received,
        take=take,
        forget=answer.clear,
        on_vendor_has_call=lambda _: None,
        room=room,
    ).until_one_works()
    assert answer == [Chunk("Hi")]
    return received


@pytest.mark.parametrize(
    "error",
    [
        vendor_errors.unreachable(),
        vendor_errors.failed("HTTP 500"),
        vendor_errors.broke_off(),
        vendor_errors.credentials(),
        vendor_errors.used_up(),
        vendor_errors.above_limit(),
        vendor_errors.retired(),
        vendor_errors.timed_out(),
        vendor_errors.busy(30),
    ],
    ids=lambda error: error.message,
)
async def test_what_another_upstream_may_not_say_goes_there_at_once(error: RebootError) -> None:
    received = await _called(a_job(), Vendor(error), Vendor(error), Vendor())
    assert (received.calls, received.rerouted, received.upstream) == (3, 2, "c")


@pytest.mark.parametrize("error", [InvalidRequest("wrong"), ProviderRejected("why ever")])
async def test_what_any_upstream_would_say_does_not(error: RebootError) -> None:
    other = Vendor()
    with pytest.raises(type(error)):
        await _called(a_job(), Vendor(error), other)
    assert other.asked == 0


async def test_after_the_first_byte_nobody_else_is_called() -> None:
    other = Vendor()
    with pytest.raises(ProviderError, match="broke off"):
        await _called(a_job(stream=True), Vendor(vendor_errors.broke_off(), said="Once"), other)
    assert other.asked == 0


async def test_of_an_answer_in_one_piece_its_caller_has_seen_nothing_so_another_writes_all_of_it() -> None:
    received = await _called(a_job(stream=False), Vendor(vendor_errors.broke_off(), said="Once"), Vendor())
    assert (received.upstream, received.text_bytes, received.pieces) == ("b", 2, 1)
    lone = Vendor(vendor_errors.broke_off(), said="Once")
    with pytest.raises(ProviderError, match="broke off"):
        await _called(a_job(stream=False), lone)
    assert lone.asked == 1, "the same one is not asked again: its vendor bills what it wrote"


async def test_waits_that_the_vendor_names_are_no_tries_until_the_request_is_old() -> None:
    quick = msgspec.structs.replace(
        NEVER_WAITS, upstream_throttled_s=3_600, retry_delay_s=0.001, retry_delay_max_s=0.001
    )
    throttled = [vendor_errors.throttled(0.001)] * 20
    received = await _called(a_job(), Vendor(*throttled), settings=quick)
    assert (received.calls, received.refused) == (21, 20)
    with pytest.raises(ProviderBusy):
        await _called(a_job(), Vendor(*throttled), settings=msgspec.structs.replace(quick, upstream_throttled_s=0.01))


@pytest.mark.parametrize("error", [ModelRetired("gone"), ProviderTimeout("late")])
async def test_when_all_were_tried_the_last_ones_error_is_told(error: RebootError) -> None:
    with pytest.raises(type(error)):
        await _called(a_job(), Vendor(ProviderError("down")), Vendor(error))


async def test_a_request_whose_deadline_has_come_goes_nowhere() -> None:
    other = Vendor()
    with pytest.raises(ProviderBusy):
        await _called(a_job(deadline_ms=1), Vendor(ProviderBusy("full")), other)
    assert other.asked == 0
