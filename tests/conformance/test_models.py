"""Every row of the catalogue answers, as JSON and as a stream, with and without instructions."""

from __future__ import annotations

import pytest

from shared.catalogue.abilities import unavailable
from shared.catalogue.thinking import thinks
from shared.chat import NO_TOOLS, JsonAnswer, Message, Sampling, Tool, ToolCall, ToolChoice, Tools
from tests.conformance.cases import CATALOGUE, Case, Vendors, expected, promise

ROWS = [
    Case(model.name, model, stream)
    for model in CATALOGUE
    for stream in ((False, True) if model.streaming else (False,))
]


def test_the_catalogue_has_111_models() -> None:
    assert len(CATALOGUE) == 111


@promise("every row answers, with and without instructions")
@pytest.mark.parametrize("case", ROWS, ids=lambda case: f"{case.name}-{'stream' if case.stream else 'json'}")
async def test_row_answers(vendors: Vendors, case: Case) -> None:
    directive = "tokens=12 unicode=1"
    bare = await vendors.ask(case, directive)
    instructed = await vendors.ask(case, directive, messages=(Message("system", "Be brief."),))
    for got in (bare, instructed):
        assert got.error is None
        assert got.text == expected(case, directive, got.call.key)
        assert got.finished == ["stop"]
        assert got.call.model == case.model.vendor_model
        assert got.call.stream == case.streams
        assert got.call.thinks is thinks(case.model, None)
    assert instructed.call.prompt_tokens > bare.call.prompt_tokens


@promise("every row thinks as it is told to")
@pytest.mark.parametrize(
    "case", [case for case in ROWS if case.model.reasoning_efforts], ids=lambda case: f"{case.name}-{case.stream}"
)
async def test_row_thinks_as_it_is_told(vendors: Vendors, case: Case) -> None:
    for effort in case.model.reasoning_efforts:
        limit = min(case.model.max_output_tokens, 8_192)  # with room for thoughts that are counted
        got = await vendors.ask(case, "tokens=3", sampling=Sampling(reasoning_effort=effort), output_limit=limit)
        assert (got.error, got.call.thinks) == (None, effort != "none"), effort


@promise("what a model thinks is no part of its answer, and is billed as output")
@pytest.mark.parametrize(
    "case",
    [case for case in ROWS if thinks(case.model, None)],
    ids=lambda case: f"{case.name}-{'stream' if case.stream else 'json'}",
)
async def test_thoughts_are_no_answer(vendors: Vendors, case: Case) -> None:
    for directive, tools in (("tokens=5 reasoning=4", NO_TOOLS), ("reasoning=4", Tools(offered=CLOCK))):
        if tools.offered and not case.model.tools:
            continue
        got = await vendors.ask(case.serving(Sampling(), tools), directive, tools=tools)
        assert (got.error, got.finished) == (None, ["tool_calls" if tools.offered else "stop"])
        assert got.text == ("" if tools.offered else expected(case, directive, got.call.key))
        assert [call.name for call in got.tool_calls] == ["clock"] * bool(tools.offered)
        told = got.reported[-1]
        assert told
        assert told.output == got.call.output_tokens


CLOCK = (Tool(name="clock", parameters={"type": "object", "properties": {"zone": {"type": "string"}}}),)
SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"], "additionalProperties": False}
CALLED = (
    Message("assistant", "", tool_calls=(ToolCall("call_1", "clock", "{}"),)),
    Message("tool", "ten", tool_call_id="call_1"),
)
OPTIONS: list[tuple[Sampling, Tools, tuple[Message, ...]]] = [
    (Sampling(temperature=1), NO_TOOLS, ()),
    (Sampling(top_p=1), NO_TOOLS, ()),
    (Sampling(stop=("x",)), NO_TOOLS, ()),
    (Sampling(top_k=5), NO_TOOLS, ()),
    (Sampling(seed=1), NO_TOOLS, ()),
    (Sampling(frequency_penalty=0.5), NO_TOOLS, ()),
    (Sampling(presence_penalty=0.5), NO_TOOLS, ()),
    (Sampling(frequency_penalty=0, presence_penalty=0, user="someone"), NO_TOOLS, ()),
    (Sampling(reasoning_effort="low"), NO_TOOLS, ()),
    (Sampling(json_answer=JsonAnswer()), NO_TOOLS, ()),
    (Sampling(json_answer=JsonAnswer(schema=SCHEMA, strict=True)), NO_TOOLS, ()),
    *((Sampling(), Tools(offered=CLOCK, choice=ToolChoice(mode)), CALLED) for mode in ("auto", "none", "required")),
    (Sampling(), Tools(offered=CLOCK, choice=ToolChoice("named", "clock")), ()),
    (Sampling(reasoning_effort="high"), Tools(offered=CLOCK), ()),
    (Sampling(), Tools(offered=CLOCK, parallel=True), ()),
    (Sampling(), Tools(offered=CLOCK, parallel=False), ()),
    (Sampling(), NO_TOOLS, CALLED),
]


@promise("every row takes the options that it is said to honour")
@pytest.mark.parametrize("case", ROWS, ids=lambda case: f"{case.name}-{'stream' if case.stream else 'json'}")
async def test_row_takes_its_options(vendors: Vendors, case: Case) -> None:
    opening = (Message("user", "Answer in JSON."), Message("assistant", "Yes."))
    for sampling, tools, after in OPTIONS:
        served = case.serving(sampling, tools)
        if unavailable(served.model, sampling, tools, after) is None:
            got = await vendors.ask(served, "tokens=3", messages=opening, sampling=sampling, tools=tools, after=after)
            assert got.error is None, (sampling, tools, got.error)


@promise("every row with tools calls them")
@pytest.mark.parametrize(
    "case",
    [case for case in ROWS if case.model.tools],
    ids=lambda case: f"{case.name}-{'stream' if case.stream else 'json'}",
)
async def test_row_calls_tools(vendors: Vendors, case: Case) -> None:
    tools = Tools(offered=CLOCK)
    got = await vendors.ask(case.serving(Sampling(), tools), "calls=2 unicode=1", tools=tools)
    assert (got.error, got.finished) == (None, ["tool_calls"])
    assert [call.name for call in got.tool_calls] == ["clock", "clock"]
