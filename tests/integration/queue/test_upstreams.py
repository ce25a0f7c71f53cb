"""The breaker of upstreams, on a real Redis."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from shared.queue.upstreams import UpstreamReport, UpstreamState, UpstreamStates
from shared.settings import Settings
from shared.stores.scripts import Scripts
from tests.harness.support import eventually_true

A = "openai-a"
SOON_S = 0.2


@pytest.fixture
def rules(settings: Settings) -> Settings:
    """Open for a moment first, and for so long that no test sees its end from the second time on."""
    return msgspec.structs.replace(settings, upstream_open_s=SOON_S, upstream_open_max_s=60, upstream_ramp_max=4)


@pytest.fixture
def states(lua: Scripts, rules: Settings) -> UpstreamStates:
    return UpstreamStates(lua, rules)


async def _tell(states: UpstreamStates, outcomes: str = "", term: int = 0, **more: str) -> UpstreamState:
    return (await states.exchange([UpstreamReport(A, term, outcomes, **more)])).states[A]


async def _half_open(states: UpstreamStates) -> UpstreamState:
    opened = await _tell(states, "fffff")
    assert (opened.state, opened.reason, opened.term) == ("open", "failures", 1)

    async def over() -> UpstreamState | None:
        state = await _tell(states)
        return state if state.state == "half open" else None

    return await eventually_true(over, "it is half open")


async def test_nobody_knows_a_new_one(states: UpstreamStates) -> None:
    assert await _tell(states) == UpstreamState(name=A)


@pytest.mark.parametrize(
    ("outcomes", "state"),
    [
        ("ffff", "closed"),
        ("fffff", "open"),
        ("ffffsffff", "closed"),
        ("sfsfsfsfs", "closed"),
        ("sfsfsfsfsf", "open"),
        ("ssfssfssfssf", "closed"),
        ("ffffnnnnnnnnnn", "closed"),
        ("ffffnf", "open"),
        ("n" * 100, "closed"),
        ("c", "open"),
        ("x", "open"),
    ],
    ids=lambda value: value[:12],
)
async def test_it_opens_by_failures_in_a_row_or_by_their_share_above_a_volume(
    states: UpstreamStates, outcomes: str, state: str
) -> None:
    assert (await _tell(states, outcomes)).state == state


async def test_what_several_workers_tell_counts_together(states: UpstreamStates, lua: Scripts, rules: Settings) -> None:
    other = UpstreamStates(lua, rules)
    assert (await _tell(states, "fff")).state == "closed"
    assert (await _tell(other, "ff")).entered == ("open",)
    assert (await _tell(states)).state == "open"


async def test_old_failures_are_forgotten(lua: Scripts, rules: Settings) -> None:
    quick = UpstreamStates(lua, msgspec.structs.replace(rules, upstream_window_s=0.3, upstream_failed_in_row=1_000))
    assert (await _tell(quick, "f" * 9)).state == "closed"
    await asyncio.sleep(0.4)
    assert (await _tell(quick, "f" * 9)).state == "closed"
    assert (await _tell(quick, "f")).state == "open", "the later ones are not"


async def test_half_open_it_gives_one_permit_until_that_is_given_back(states: UpstreamStates) -> None:
    await _half_open(states)
    assert (await _tell(states, wanted="one")).permitted
    assert not (await _tell(states, wanted="two")).permitted
    assert (await _tell(states, wanted="one")).permitted, "an answer that was lost is asked for again"
    await _tell(states, released="one")
    assert (await _tell(states, wanted="two")).permitted


async def test_a_permit_of_a_worker_that_died_ends_and_one_that_is_kept_does_not(lua: Scripts, rules: Settings) -> None:
    brief = UpstreamStates(lua, msgspec.structs.replace(rules, upstream_permit_s=0.5))
    await _half_open(brief)
    assert (await _tell(brief, wanted="dead")).permitted

    async def free() -> bool:
        return (await _tell(brief, wanted="next")).permitted

    assert await eventually_true(free, "the permit of the dead one ended")
    for _ in range(10):
        await _tell(brief, kept="next")
        assert not (await _tell(brief, wanted="another")).permitted


@pytest.mark.parametrize("answer", ["s", "n"])
async def test_an_answer_to_the_probe_lets_it_rise_until_it_is_closed(states: UpstreamStates, answer: str) -> None:
    term = (await _half_open(states)).term
    await _tell(states, wanted="probe")
    rising = await _tell(states, answer, term, released="probe")
    assert (rising.state, rising.entered, rising.term) == ("rising", ("rising",), term)
    assert [(await _tell(states, wanted=permit)).permitted for permit in "abc"] == [True, True, False]
    assert (await _tell(states, "s", term, released="a")).state == "rising"
    closed = await _tell(states, "s", term, released="b")
    assert (closed.state, closed.entered) == ("closed", ("closed",))


@pytest.mark.parametrize(("failure", "reason"), [("f", "failures"), ("c", "credentials"), ("x", "credit")])
async def test_a_probe_that_fails_opens_it_for_longer(states: UpstreamStates, failure: str, reason: str) -> None:
    term = (await _half_open(states)).term
    again = await _tell(states, failure, term)
    assert (again.state, again.reason, again.term) == ("open", reason, term + 1)
    assert 2 * SOON_S * 0.9 < again.wait_s <= 2 * SOON_S * 1.1


async def test_it_is_never_open_for_longer_than_the_most(lua: Scripts, rules: Settings) -> None:
    bounded = UpstreamStates(lua, msgspec.structs.replace(rules, upstream_open_max_s=SOON_S))
    for term in range(4):
        assert (await _tell(bounded, "c", term)).wait_s <= SOON_S * 1.1

        async def over() -> bool:
            return (await _tell(bounded)).state == "half open"

        await eventually_true(over, "it is half open")


async def test_calls_that_began_before_it_opened_neither_close_it_nor_open_it_again(states: UpstreamStates) -> None:
    opened = await _tell(states, "fffff")
    late = await _tell(states, "sssfffff", 0)
    assert (late.state, late.term, late.entered) == ("open", opened.term, ())
    assert (late.calls, late.errors) == (13, 10)
    half = await _half_open_again(states)
    assert (await _tell(states, "ssss", 0)).state == half.state == "half open"


async def _half_open_again(states: UpstreamStates) -> UpstreamState:
    async def over() -> UpstreamState | None:
        state = await _tell(states)
        return state if state.state == "half open" else None

    return await eventually_true(over, "it is half open")


async def test_one_that_rises_and_fails_takes_fewer_at_once_and_opens_as_any_other(
    lua: Scripts, rules: Settings
) -> None:
    states = UpstreamStates(lua, msgspec.structs.replace(rules, upstream_ramp_max=64))
    term = (await _half_open(states)).term
    await _tell(states, "sssssss", term)
    await _tell(states, "f", term)
    taken = [(await _tell(states, wanted=str(number))).permitted for number in range(8)]
    assert taken.count(True) == 4
    assert (await _tell(states, "ffff", term)).state == "open"


async def test_success_forgets_how_often_it_opened(states: UpstreamStates) -> None:
    term = (await _half_open(states)).term
    assert (await _tell(states, "ssss", term)).state == "closed"
    assert (await _tell(states, "fffff", term)).wait_s <= SOON_S * 1.1


async def test_closed_it_asks_for_no_permit(states: UpstreamStates) -> None:
    assert all([(await _tell(states, wanted=str(number))).permitted for number in range(100)])
