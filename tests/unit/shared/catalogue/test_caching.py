"""Which marks a model takes, and what they may make its vendor write."""

from __future__ import annotations

import msgspec
import pytest

from shared.catalogue.apis import by_each_api
from shared.catalogue.caching import with_marks_taken, writes_of
from shared.catalogue.models import load_catalogue
from shared.chat import NO_TOOLS, CacheMark, Caching, Chat, Message, Sampling, Tool, ToolCall, Tools
from shared.job import pack, unpack_job
from shared.ledger.pinned_price import pinned
from shared.money import NanoUsd, Writes
from tests.harness.builders import a_job

CATALOGUE = load_catalogue()
SHORT, LONG = CacheMark(0), CacheMark(0, long=True)
CLAUDE, NOVA, GPT, OLDER_GPT, GEMINI = (
    "anthropic-claude-sonnet-4-6",
    "amazon-nova-lite",
    "openai-gpt-5.6-terra",
    "openai-gpt-5.2",
    "google-gemini-3.1-pro-preview",
)


def said(*marks: CacheMark, role: str = "user") -> Message:
    return Message(role, "x", cache_marks=marks)  # type: ignore[arg-type]


def taken(model: str, messages: list[Message], tools: Tools = NO_TOOLS) -> tuple[list[tuple[CacheMark, ...]], bool]:
    marked = with_marks_taken(CATALOGUE.find(model), messages, tools)
    return [marked.tools.cache_marks, *(message.cache_marks for message in marked.messages)], marked.left_out


def tools_with(*marks: CacheMark) -> Tools:
    return Tools(offered=(Tool(name="f"),), cache_marks=marks)


def test_what_is_not_marked_is_not_touched() -> None:
    messages = [Message("user", "x")]
    marked = with_marks_taken(CATALOGUE.find(CLAUDE), messages, NO_TOOLS)
    assert marked.messages is messages
    assert marked.tools is NO_TOOLS


def test_claude_takes_marks_everywhere_and_nova_none_at_tools_and_their_results() -> None:
    called = Message("assistant", "", (ToolCall("c", "f", "{}"),), cache_marks=(CacheMark(1),))
    result = Message("tool", "r", tool_call_id="c", cache_marks=(SHORT,))
    everywhere = [said(SHORT, role="system"), said(), called, result]
    assert taken(CLAUDE, everywhere, tools_with(SHORT)) == ([(SHORT,), (SHORT,), (), (CacheMark(1),), (SHORT,)], False)
    assert taken(NOVA, [*everywhere, said(SHORT)], tools_with(SHORT)) == ([(), (SHORT,), (), (), (), (SHORT,)], True)


@pytest.mark.parametrize("model", [OLDER_GPT, GEMINI, "meta-llama4-scout", "openai-gpt-6-luna-bedrock"])
def test_a_vendor_that_takes_no_marks_is_sent_none(model: str) -> None:
    assert taken(model, [said(SHORT)], tools_with(SHORT)) == ([(), ()], True)


def test_openai_takes_marks_at_results_and_none_of_the_assistants() -> None:
    talk = [said(SHORT), said(SHORT, role="assistant"), Message("tool", "r", tool_call_id="c", cache_marks=(SHORT,))]
    assert taken(GPT, talk) == ([(), (SHORT,), (), (SHORT,)], True)


def test_of_more_than_four_marks_the_last_ones_count_and_instructions_come_before_what_was_said() -> None:
    messages = [said(SHORT), said(SHORT), said(SHORT), said(SHORT, role="system")]
    assert taken(CLAUDE, messages, tools_with(SHORT)) == ([(), (SHORT,), (SHORT,), (SHORT,), (SHORT,)], True)


def test_a_long_mark_behind_a_short_one_is_a_short_one() -> None:
    messages = [said(LONG), said(SHORT), said(LONG)]
    assert taken(CLAUDE, messages, tools_with(LONG)) == ([(LONG,), (LONG,), (SHORT,), (SHORT,)], False)


def test_it_is_said_when_a_long_mark_becomes_a_short_one() -> None:
    for model, messages, shortened in (
        (CLAUDE, [said(LONG), said(SHORT)], False),
        (CLAUDE, [said(SHORT), said(LONG)], True),
        (NOVA, [said(LONG)], True),
        (GEMINI, [said(LONG)], False),
    ):
        assert with_marks_taken(CATALOGUE.find(model), messages, NO_TOOLS).shortened == shortened


def test_a_model_that_keeps_nothing_for_long_is_asked_for_short() -> None:
    assert taken(NOVA, [said(LONG)]) == ([(), (SHORT,)], False)


@pytest.mark.parametrize(
    ("model", "marks", "explicit", "writes"),
    [
        (CLAUDE, (), False, "none"),
        (CLAUDE, (SHORT,), False, "short"),
        (CLAUDE, (LONG,), False, "long"),
        ("anthropic-claude-opus-5-5", (), False, "short"),
        (GPT, (), False, "short"),
        (GPT, (LONG,), False, "short"),
        (GPT, (), True, "none"),
        (GPT, (SHORT,), True, "short"),
        (OLDER_GPT, (), True, "short"),
        ("openai-gpt-6-luna-bedrock", (), True, "short"),
    ],
)
def test_what_may_be_written_follows_from_marks_and_from_what_the_vendor_does_unasked(
    model: str, marks: tuple[CacheMark, ...], *, explicit: bool, writes: Writes
) -> None:
    sampling = Sampling(caching=Caching(explicit=explicit))
    for way in by_each_api([CATALOGUE.find(model)]):
        assert writes_of(way, Chat([said(*marks)], sampling)) == writes


@pytest.mark.parametrize(
    ("model", "writes", "usd"),
    [(CLAUDE, "none", 3), (CLAUDE, "short", 3.75), (CLAUDE, "long", 6), ("openai-gpt-5.6-luna", "none", 0.2)],
)
def test_a_hold_is_at_the_price_of_what_may_be_written(model: str, writes: Writes, usd: float) -> None:
    price = CATALOGUE.find(model).price
    assert pinned(price, "0123456789ab", 1_000, writes)["hold_input_price"] == usd * 10**9
    assert price.hold(1_000, 0, writes) == NanoUsd(int(usd * 10**6))


def test_a_job_of_the_previous_release_has_no_marks_and_a_marked_one_comes_as_it_was() -> None:
    job = msgspec.structs.replace(a_job(), messages=[said(SHORT, LONG)], tools=tools_with(LONG))
    assert unpack_job(pack(job)) == job
    before = msgspec.msgpack.decode(pack(a_job()))
    for part in (before["tools"], *before["messages"]):
        part.pop("cache_marks", None)
    assert unpack_job(msgspec.msgpack.encode(before)).messages == a_job().messages
