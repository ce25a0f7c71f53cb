"""Tool calls: what is offered reaches the vendor, what it calls comes back whole."""

from __future__ import annotations

import json

import pytest

from shared.chat import Message, Sampling, ToolCall, ToolChoice, Tools
from shared.errors import InvalidRequest, ProviderError
from shared.money import Usage
from tests.conformance.cases import Case, Vendors, cut_after, expected_arguments, new_key, of, over, promise, request
from tests.conformance.offers import FRAMINGS, OFFERED, TOOLED, WEATHER, streamed


@promise("a tool call arrives whole in any chunking")
@over(*TOOLED)
@pytest.mark.parametrize("how", FRAMINGS)
async def test_one_call(vendors: Vendors, case: Case, how: str) -> None:
    got = await vendors.ask(case, f"unicode=1 {how}", tools=OFFERED)
    assert (got.error, got.text, got.finished) == (None, "", ["tool_calls"])
    (call,) = got.tool_calls
    assert call.name == "get_weather"
    assert json.loads(call.arguments) == json.loads(expected_arguments(WEATHER, "unicode=1"))


@promise("parallel calls arrive whole, each with an id of its own")
@over(*TOOLED)
@pytest.mark.parametrize("how", FRAMINGS)
async def test_parallel_calls(vendors: Vendors, case: Case, how: str) -> None:
    got = await vendors.ask(case, f"calls=3 unicode=1 {how}", tools=OFFERED)
    assert got.finished == ["tool_calls"]
    assert [call.name for call in got.tool_calls] == ["get_weather", "clock", "get_weather"]
    weather = json.loads(expected_arguments(WEATHER, "unicode=1"))
    assert [json.loads(call.arguments) for call in got.tool_calls] == [weather, {}, weather]
    assert len({call.id for call in got.tool_calls}) == 3


@promise("a call whose name comes after its arguments arrives whole, named first")
@over(*(case for case in streamed(TOOLED) if case.api in {"openai-chat", "deepseek-chat"}))
@pytest.mark.parametrize("how", FRAMINGS)
async def test_names_that_come_late(vendors: Vendors, case: Case, how: str) -> None:
    got = await vendors.ask(case, f"calls=3 late_names=1 unicode=1 {how}", tools=OFFERED)
    assert (got.error, got.finished) == (None, ["tool_calls"])
    assert [call.name for call in got.tool_calls] == ["get_weather", "clock", "get_weather"]
    weather = json.loads(expected_arguments(WEATHER, "unicode=1"))
    assert [json.loads(call.arguments) for call in got.tool_calls] == [weather, {}, weather]
    assert all(piece.name for piece in got.call_pieces)


@promise("arguments come while the vendor still writes")
@over(*(case for case in streamed(TOOLED) if case.api != "gemini"))
async def test_arguments_come_at_once(vendors: Vendors, case: Case) -> None:
    got = await vendors.ask(case, "pace_ms=1", tools=OFFERED)
    assert len(got.call_pieces) > 5


@promise("text before a call is text")
@over(*TOOLED)
async def test_text_and_call(vendors: Vendors, case: Case) -> None:
    got = await vendors.ask(case, "preface=3 calls=2", tools=OFFERED)
    assert got.text.startswith("[simulated")
    assert [call.name for call in got.tool_calls] == ["get_weather", "clock"]
    assert got.finished == ["tool_calls"]


@promise("a tool's result reaches the vendor, and the answer to it comes back")
@over(*TOOLED)
@pytest.mark.parametrize(
    "arguments",
    [
        "{}",
        "",
        " ",
        "null",
        '"{\\"place\\": \\"Oslo\\"}"',
        '{"place": "Os',
        '[1, "x"]',
        '{"place": "Oslo", "deep": [1, 2.5, null, {"é": true}]}',
    ],
)
async def test_round_trip(vendors: Vendors, case: Case, arguments: str) -> None:
    calls = (ToolCall("call_1", "get_weather", arguments), ToolCall("call_2", "clock", "{}"))
    after = (
        Message("assistant", "", tool_calls=calls),
        Message("tool", "five past ten", tool_call_id="call_2"),
        Message("tool", '{"rain": "heavy"}', tool_call_id="call_1"),
    )
    got = await vendors.ask(case, "tokens=3", tools=OFFERED, after=after)
    assert (got.error, got.finished, got.tool_calls) == (None, ["stop"], ())
    assert "heavy" in got.text or "five past ten" in got.text


@promise("a conversation goes on after a tool's result")
@over(*TOOLED)
async def test_talk_goes_on(vendors: Vendors, case: Case) -> None:
    before = (
        Message("system", "Be brief."),
        Message("user", "Weather?"),
        Message("assistant", "Let me see.", tool_calls=(ToolCall("call_1", "get_weather", "{}"),)),
        Message("tool", "", tool_call_id="call_1"),
    )
    plain = await vendors.ask(case, "calls=0 tokens=3", messages=before, tools=OFFERED)
    assert (plain.error, plain.finished) == (None, ["stop"])
    answered = (*before, Message("assistant", "Nothing known."))
    again = await vendors.ask(case, "", messages=answered, tools=OFFERED)
    assert (again.error, again.finished) == (None, ["tool_calls"])


@promise("a tool that is named is called, and the finish reason says so")
@over(*TOOLED)
async def test_named(vendors: Vendors, case: Case) -> None:
    got = await vendors.ask(case, "", tools=Tools(offered=OFFERED.offered, choice=ToolChoice("named", "clock")))
    assert [call.name for call in got.tool_calls] == ["clock"]
    assert got.finished == ["tool_calls"]


@promise("tools must, may and must not be called, as asked")
@over(*TOOLED)
async def test_choices(vendors: Vendors, case: Case) -> None:
    after = (
        Message("assistant", "", tool_calls=(ToolCall("call_1", "clock", "{}"),)),
        Message("tool", "ten", tool_call_id="call_1"),
    )
    ends = {"auto": ["stop"], "none": ["stop"], "required": ["tool_calls"]}
    for mode, finished in ends.items():
        choice = ToolChoice(mode)  # type: ignore[arg-type]
        got = await vendors.ask(case, "", tools=Tools(offered=OFFERED.offered, choice=choice), after=after)
        assert (got.error, got.finished) == (None, finished)
    none = Tools(offered=OFFERED.offered, choice=ToolChoice("none"))
    assert (await vendors.ask(case, "calls=2", tools=none)).finished == ["stop"]


@promise("a talk with calls in it can go on without tools")
@over(*TOOLED)
async def test_no_tools_any_more(vendors: Vendors, case: Case) -> None:
    after = (
        Message("assistant", "", tool_calls=(ToolCall("call_1", "clock", "{}"),)),
        Message("tool", "ten", tool_call_id="call_1"),
    )
    got = await vendors.ask(case, "tokens=4", after=after)
    assert (got.error, got.finished) == (None, ["stop"])


@promise("one call at a time, where the vendor can be told so")
@of("openai-chat", "openai-responses")
async def test_not_parallel(vendors: Vendors, case: Case) -> None:
    got = await vendors.ask(case, "calls=3", tools=Tools(offered=OFFERED.offered, parallel=False))
    assert len(got.tool_calls) == 1


@promise("calls are output: their tokens are the vendor's, and the output limit ends them in `length`")
@over(*TOOLED)
async def test_usage_and_limit(vendors: Vendors, case: Case) -> None:
    got = await vendors.ask(case, "calls=2", tools=OFFERED)
    assert got.reported[-1] == Usage(got.call.prompt_tokens, got.call.output_tokens)
    assert got.call.output_tokens > 5
    thoughts, limit = cut_after(case, 4)
    cut = await vendors.ask(case, thoughts, tools=OFFERED, output_limit=limit)
    assert (cut.error, cut.finished) == (None, ["length"])


@promise("definitions, calls and results are input")
@over(*TOOLED)
async def test_tools_are_input(vendors: Vendors, case: Case) -> None:
    bare = await vendors.ask(case, "tokens=3")
    offering = await vendors.ask(case, "tokens=3", tools=OFFERED)
    assert offering.call.prompt_tokens > bare.call.prompt_tokens + 50


@promise("a call that breaks off is an error, never a short call")
@over(*TOOLED)
@pytest.mark.parametrize("fault", ["cut", "fin", "early_end", "garbage", "error_event status=500"])
async def test_broken_call(vendors: Vendors, case: Case, fault: str) -> None:
    got = await vendors.ask(case, f"calls=2 pace_ms=1 after=4 fault={fault}", tools=OFFERED)
    assert type(got.error) is ProviderError
    assert len(got.calls) == 1


@promise("closing the iterator amid a call closes the vendor's connection")
@over(*streamed(TOOLED))
async def test_closing_mid_call(vendors: Vendors, case: Case) -> None:
    key = new_key()
    directive = f"preface=1 hold=4 key={key}"
    if case.api == "gemini":  # a call comes as a whole: the connection is left before it
        directive = f"preface=6 hold=4 key={key}"
    pieces = vendors.pieces(request(case, directive, tools=OFFERED))
    await anext(pieces)
    await pieces.aclose()
    await vendors.simulator.calls.until(lambda log: bool(log.find(key, "client_gone")))


@promise("what only Converse and Gemini refuse is refused before the call, by name")
@of("bedrock-converse", "gemini")
@pytest.mark.parametrize(
    ("after", "named"),
    [
        ((Message("tool", "ten", tool_call_id="call_9"),), "call_9"),
        ((Message("assistant", "", tool_calls=(ToolCall("call_7", "clock", "{}"),)),), "call_7"),
    ],
    ids=["unknown", "unanswered"],
)
async def test_wrong_history(vendors: Vendors, case: Case, after: tuple[Message, ...], named: str) -> None:
    got = await vendors.ask(case, "", tools=OFFERED, after=after)
    assert type(got.error) is InvalidRequest
    assert named in got.error.message
    assert not got.calls


@promise("a history that OpenAI refuses is the caller's fault")
@of("openai-chat", "openai-responses", "deepseek-chat")
async def test_wrong_history_at_openai(vendors: Vendors, case: Case) -> None:
    got = await vendors.ask(case, "", tools=OFFERED, after=(Message("tool", "ten", tool_call_id="call_9"),))
    assert type(got.error) is InvalidRequest


@promise("seed and penalties reach the vendor")
@of("openai-chat", "gemini")
async def test_other_options(vendors: Vendors, case: Case) -> None:
    sampling = Sampling(seed=7, frequency_penalty=0.5, presence_penalty=-0.5, user="someone")
    got = await vendors.ask(case, "tokens=3", sampling=sampling)
    assert (got.error, got.finished) == (None, ["stop"])
