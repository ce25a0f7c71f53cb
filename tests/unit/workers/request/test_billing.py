from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.catalogue.models import DefaultPrices
from shared.chat import Chat, Message
from shared.errors import Cancelled, ProviderBusy, ProviderError, ProviderTimeout, RebootError
from shared.input_tokens import input_bound
from shared.job import Chunk, Job
from shared.ledger.settlement import LostCall
from shared.money import LongContext, NanoUsd, Price, Usage
from tests.harness.builders import a_job, a_model
from workers.request.billing import (
    ABSURD_FACTOR,
    Received,
    billed_usage,
    estimate,
    failed,
    lose,
    lose_with_worker,
    succeeded,
    void,
)
from workers.request.past import CallOfClaim

NOW = datetime(2027, 1, 1, tzinfo=UTC)
REPORTED = Usage(input=100, output=50, cached=20, reasoning=10)
JOB = a_job(hold_nano=NanoUsd(10**12))
counts = st.integers(-(2**40), 2**40)


def test_a_success_is_charged_as_the_vendor_reported() -> None:
    event, settlement = succeeded(JOB, Received(called=True, reported=REPORTED, calls=2), "stop", [Chunk("Hi")], NOW)
    assert event.usage == REPORTED
    assert event.charged_nano == settlement.charge_nano == JOB.price.cost(REPORTED)
    assert (settlement.state, settlement.hold_state, settlement.calls) == ("succeeded", "settled", 2)
    assert (settlement.tokens_input, settlement.tokens_output) == (100, 50)
    assert (settlement.tokens_cached, settlement.tokens_reasoning, settlement.usage_estimated) == (20, 10, False)


def test_vendor_cost_and_charge_are_kept_apart() -> None:
    job = a_job(model=a_model(vendor_price=Price(1_000_000, 1_000_000), price=Price(3_000_000, 3_000_000)))
    _, settlement = succeeded(job, Received(called=True, reported=Usage(10, 10)), "stop", [], NOW)
    assert (settlement.vendor_cost_nano, settlement.charge_nano) == (20, 60)


FLEX_MODEL = a_model(
    vendor_price=Price(1_000_000, 1_000_000),
    price=Price(2_000_000, 2_000_000),
    service_tier="flex",
    at_default=DefaultPrices(Price(3_000_000, 3_000_000), Price(6_000_000, 6_000_000)),
)


@pytest.mark.parametrize(
    ("served", "vendor_cost", "loss"), [("flex", 20, None), (None, 20, None), ("default", 60, 40), ("priority", 60, 40)]
)
def test_a_request_at_flex_is_charged_at_its_price_whatever_tier_serves_and_the_rest_is_the_houses_loss(
    served: str | None, vendor_cost: int, loss: int | None
) -> None:
    received = Received(called=True, reported=Usage(10, 10), served_tier=served)
    event, settlement = succeeded(a_job(model=FLEX_MODEL), received, "stop", [], NOW)
    assert event.charged_nano == settlement.charge_nano == 40
    assert event.served_tier == settlement.served_tier == served
    assert (settlement.vendor_cost_nano, settlement.tier_loss_nano, settlement.saved_nano) == (vendor_cost, loss, 80)


def test_the_vendors_cost_is_its_price_times_the_upstreams_factor_and_the_charge_is_the_same_everywhere() -> None:
    job = a_job(model=a_model(vendor_price=Price(1_000_000, 1_000_000), price=Price(3_000_000, 3_000_000)))
    dearer = Received(called=True, reported=Usage(10, 11), upstream="eu", cost_factor=Decimal("1.1"))
    _, settlement = succeeded(job, dearer, "stop", [], NOW)
    assert (settlement.vendor_cost_nano, settlement.charge_nano, settlement.upstream) == (24, 63, "eu")
    _, settlement = succeeded(a_job(model=FLEX_MODEL), dearer, "stop", [], NOW)
    assert settlement.vendor_cost_nano == 24


HEARD = {"accepted": True, "pieces": 3}
"""Three tokens that it thought, say."""


@pytest.mark.parametrize(
    ("received", "error", "tokens"),
    [
        ({"called": True, "accepted": True}, ProviderError("cut"), (10, 0, True)),
        ({"called": True, **HEARD}, ProviderError("cut"), (10, 3, True)),
        ({"called": True, **HEARD, "reported": REPORTED}, ProviderError("cut"), (100, 50, False)),
        ({"called": True}, ProviderTimeout("silent"), (10, 0, True)),
        ({"called": True, "accepted": True}, ProviderBusy("full"), None),
        ({"called": True}, ProviderError("reset"), None),
        ({}, ProviderTimeout("no connection"), None),
        ({}, ProviderBusy("full"), None),
    ],
)
def test_a_call_that_came_to_nothing_is_lost_where_its_vendor_had_begun(
    received: dict[str, Any], error: RebootError, tokens: tuple[int, int, bool] | None
) -> None:
    job = a_job(model=a_model(vendor_price=Price(1_000_000, 1_000_000)), messages=[Message("user", "x" * 24)])
    call = Received(calls=2, upstream="eu", **received)
    lose(job, call, error)
    if tokens is None:
        assert call.lost == []
    else:
        given, output, estimated = tokens
        assert call.lost == [LostCall(2, "eu", job.model.name, error.code, given + output, estimated)]


def test_a_call_of_a_worker_that_died_costs_its_input() -> None:
    job = a_job(model=a_model(vendor_price=Price(1_000_000, 1_000_000)), messages=[Message("user", "x" * 24)])
    received = Received()
    for _ in range(2):
        lose_with_worker(job, received, CallOfClaim(epoch=1, number=1, upstream="eu"), Decimal(2))
    assert received.lost == [LostCall(1, "eu", job.model.name, "worker_lost", 20, estimated=True)]


def test_a_json_answer_that_broke_off_is_lost_and_not_charged() -> None:
    received = Received(called=True, accepted=True, text_bytes=400, pieces=100, calls=1, upstream="eu")
    _, settlement = failed(a_job(stream=False), received, ProviderError("cut"), NOW)
    assert (settlement.charge_nano, settlement.vendor_cost_nano) == (0, 0)
    assert [call.number for call in settlement.lost_calls or ()] == [1]


def test_what_is_charged_is_not_lost() -> None:
    received = Received(called=True, accepted=True, text_bytes=400, pieces=100, calls=1, upstream="eu")
    _, settlement = failed(JOB, received, ProviderError("cut"), NOW)
    assert settlement.charge_nano > 0 < settlement.vendor_cost_nano
    assert settlement.lost_calls is None


def test_a_void_request_is_lost_with_all_its_calls() -> None:
    received = Received(called=True, accepted=True, reported=REPORTED, text_bytes=4, calls=1, upstream="eu")
    _, settlement = void(JOB, received, NOW)
    assert (settlement.charge_nano, settlement.vendor_cost_nano, settlement.upstream) == (0, 0, "eu")
    (lost,) = settlement.lost_calls or ()
    assert lost.cost_nano == JOB.model.vendor_price.cost(REPORTED)


def test_an_ordinary_request_says_nothing_of_tiers() -> None:
    _, settlement = succeeded(JOB, Received(called=True, reported=REPORTED), "stop", [], NOW)
    assert (settlement.served_tier, settlement.saved_nano, settlement.tier_loss_nano) == (None, None, None)


def test_the_price_of_admission_counts_and_not_the_one_of_today() -> None:
    job = a_job(model=a_model(price=Price(9_000_000, 9_000_000)), price=Price(1_000_000, 1_000_000))
    _, settlement = succeeded(job, Received(called=True, reported=Usage(10, 10)), "stop", [], NOW)
    assert settlement.charge_nano == 20


def test_a_long_request_that_wrote_to_a_cache_is_charged_and_costs_as_its_vendor_bills() -> None:
    vendor = Price(100, 200, 10, 125, 250, LongContext(200, 300, 20, 250, 500, above=99)).times(Decimal(10_000))
    job = a_job(model=a_model(vendor_price=vendor, price=vendor.times(Decimal(2))), hold_nano=NanoUsd(10**12))
    reported = Usage(100, 10, cached=20, written=30, written_long=10)
    event, settlement = succeeded(job, Received(called=True, reported=reported), "stop", [], NOW)
    assert settlement.vendor_cost_nano == 50 * 2 + 4 + 20 * 2.5 + 10 * 5 + 10 * 3  # 20 cached ones cost 4 together
    assert event.charged_nano == settlement.charge_nano == 2 * settlement.vendor_cost_nano
    assert (settlement.tokens_input, settlement.tokens_cached) == (100, 20)
    assert (settlement.tokens_cache_written, settlement.tokens_cache_written_long) == (30, 10)


def test_a_caller_is_never_told_more_than_the_hold_and_the_ledger_learns_the_rest() -> None:
    job = a_job(hold_nano=NanoUsd(1_000))
    event, settlement = succeeded(job, Received(called=True, reported=REPORTED), "stop", [], NOW)
    assert event.charged_nano == 1_000
    assert settlement.charge_nano == job.price.cost(REPORTED) > 1_000


def test_a_failure_before_any_output_is_free() -> None:
    event, settlement = failed(JOB, Received(called=True, calls=3), ProviderError("down"), NOW)
    assert (event.charged_nano, event.usage, event.error.code) == (0, None, "provider_error")
    assert (settlement.state, settlement.hold_state, settlement.charge_nano) == ("failed", "released", 0)
    assert (settlement.error_code, settlement.error_message, settlement.calls) == ("provider_error", "down", 3)


@pytest.mark.parametrize(
    ("text_bytes", "pieces", "output"), [(40, 40, 40), (400, 40, 100), (1, 1, 1), (0, 7, 7), (0, 0, 0)]
)
def test_an_estimate_is_the_larger_of_a_quarter_of_the_bytes_and_the_pieces(
    text_bytes: int, pieces: int, output: int
) -> None:
    received = Received(called=True, text_bytes=text_bytes, pieces=pieces)
    event, _ = failed(JOB, received, Cancelled("gone"), NOW, cancelled=True)
    assert event.usage is not None
    assert (event.usage.output, event.usage.estimated) == (output, True)


def test_a_json_answer_that_fails_on_the_way_is_free_and_nothing_of_it_is_kept() -> None:
    job = a_job(stream=False, keep_until=NOW)
    received = Received(called=True, text_bytes=400, pieces=100, reported=REPORTED)
    event, settlement = failed(job, received, ProviderError("cut"), NOW, answer=[Chunk("half")])
    assert (event.charged_nano, event.usage) == (0, None)
    assert (settlement.hold_state, settlement.charge_nano, settlement.answer) == ("released", 0, None)


def test_a_json_answer_that_is_cancelled_costs_what_was_received() -> None:
    received = Received(called=True, text_bytes=400)
    event, _ = failed(a_job(stream=False), received, Cancelled("gone"), NOW, cancelled=True)
    assert event.usage is not None
    assert event.usage.output == 100


def test_tokens_that_a_vendor_reports_of_an_answer_that_nobody_saw_are_free() -> None:
    event, _ = failed(JOB, Received(called=True, reported=REPORTED), ProviderError("failed"), NOW)
    assert (event.charged_nano, event.usage) == (0, None)


def test_a_failure_on_the_way_is_charged_for_the_input_and_what_was_received() -> None:
    event, settlement = failed(JOB, Received(called=True, text_bytes=400), ProviderError("cut"), NOW)
    assert event.usage == estimate(JOB, 400)
    assert event.usage is not None
    assert (event.usage.output, event.usage.estimated) == (100, True)
    assert (settlement.state, settlement.hold_state, settlement.usage_estimated) == ("failed", "settled", True)
    assert settlement.charge_nano == JOB.price.cost(event.usage) > 0


def test_a_failure_on_the_way_is_charged_as_reported_when_the_vendor_said() -> None:
    event, _ = failed(JOB, Received(called=True, text_bytes=400, reported=REPORTED), ProviderError("cut"), NOW)
    assert event.usage == REPORTED


def test_cancelled_before_the_call_is_free_and_after_it_costs_at_least_the_input() -> None:
    before, unsettled = failed(JOB, Received(), Cancelled("gone"), NOW, cancelled=True)
    after, settled = failed(JOB, Received(called=True), Cancelled("gone"), NOW, cancelled=True)
    assert (before.charged_nano, unsettled.state, unsettled.hold_state) == (0, "cancelled", "released")
    assert after.usage is not None
    assert (after.usage.output, settled.state, settled.hold_state) == (0, "cancelled", "settled")
    assert after.charged_nano > 0


@pytest.mark.parametrize(
    "absurd",
    [
        Usage(-1, 5),
        Usage(5, -1),
        Usage(5, 5, cached=6),
        Usage(5, 5, cached=3, written=3),
        Usage(5, 5, written=1, written_long=2),
        Usage(5, 5, written=-1),
        Usage(5, 5, reasoning=6),
        Usage(5, 5, cached=-1),
        Usage(5, 5, reasoning=-1),
        Usage(ABSURD_FACTOR * 10**6, 5),
        Usage(5, ABSURD_FACTOR * 10**6),
    ],
)
def test_counts_that_cannot_be_true_are_replaced_by_a_marked_estimate(absurd: Usage) -> None:
    assert billed_usage(JOB, Received(called=True, text_bytes=8, reported=absurd)) == estimate(JOB, 8)
    assert estimate(JOB, 8).estimated


def test_what_no_bill_can_come_to_is_written_down_as_the_most_that_can_be() -> None:
    price = Price(10**18, 10**18)
    job = a_job(model=a_model(price=price, vendor_price=price, context_window=10**6), price=price)
    _, settlement = succeeded(job, Received(called=True, reported=Usage(10**6, 10**6)), "stop", [], NOW)
    assert (settlement.charge_nano, settlement.vendor_cost_nano) == (2 * 10**18, 2 * 10**18)
    _, settlement = succeeded(job, Received(called=True, reported=Usage(10**6, 9 * 10**6)), "stop", [], NOW)
    assert settlement.charge_nano == settlement.vendor_cost_nano == 2**63 - 1


@given(*[counts] * 6, st.integers(0, 10**9))
def test_whatever_a_vendor_reports_no_count_and_no_charge_is_negative(
    i: int, o: int, cached: int, reasoning: int, written: int, written_long: int, text_bytes: int
) -> None:
    reported = Usage(i, o, cached, reasoning, written=written, written_long=written_long)
    received = Received(called=True, text_bytes=text_bytes, reported=reported)
    event, settlement = succeeded(JOB, received, "stop", [], NOW)
    assert min(event.usage.input, event.usage.output) >= 0
    assert event.usage.adds_up()
    assert settlement.charge_nano >= 0
    assert settlement.vendor_cost_nano >= 0


@given(
    st.text(st.characters(exclude_categories=["Cs"])),
    st.integers(0, 10**9),
    st.integers(0, 10**9),
    st.integers(1, 10**6),
)
def test_an_estimate_never_exceeds_what_the_request_was_held_for(
    text: str, text_bytes: int, pieces: int, limit: int
) -> None:
    messages = [Message("user", text)]
    usage = estimate(a_job(messages=messages, output_limit=limit), text_bytes, pieces)
    assert 1 <= usage.input <= input_bound(Chat(messages), None)
    assert 0 <= usage.output <= limit


def test_a_bill_is_a_pure_function_of_what_came_back() -> None:
    def bill(job: Job) -> object:
        return succeeded(job, Received(called=True, reported=REPORTED), "stop", [Chunk("Hi")], NOW)

    assert bill(JOB) == bill(JOB)
