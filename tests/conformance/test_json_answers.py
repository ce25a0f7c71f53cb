"""Answers in JSON, by the vendor's own mode or by a tool that nobody sees."""

from __future__ import annotations

import json
from typing import Any

import pytest

from shared.catalogue.abilities import json_form
from shared.chat import JsonAnswer, Message, Sampling, Tools
from shared.errors import ProviderError
from shared.money import Usage
from tests.conformance.cases import Case, Vendors, cut_after, expected, over, promise
from tests.conformance.offers import ANSWER_SCHEMA, CLOCK, FRAMINGS, JSONED, streamed

BY_TOOL = [case for case in JSONED if case.api in {"deepseek-chat", "bedrock-converse"}]


@promise("an answer that is to be JSON is JSON")
@over(*JSONED)
@pytest.mark.parametrize("how", ["", "split=1 surrogate=1"])
async def test_json_object(vendors: Vendors, case: Case, how: str) -> None:
    sampling = Sampling(json_answer=JsonAnswer())
    got = await vendors.ask(case, f"unicode=1 {how}", messages=(Message("system", "In JSON."),), sampling=sampling)
    assert (got.error, got.finished, got.tool_calls) == (None, ["stop"], ())
    assert isinstance(json.loads(got.text), dict)


def typed(schema: dict[str, Any], name: str = "town") -> Sampling:
    return Sampling(json_answer=JsonAnswer(name=name, schema=schema, strict=True))


@promise("an answer that is to follow a schema follows it, and is text in any chunking")
@over(*JSONED)
@pytest.mark.parametrize("how", FRAMINGS)
async def test_json_schema(vendors: Vendors, case: Case, how: str) -> None:
    got = await vendors.ask(case, f"unicode=1 {how}", sampling=typed(ANSWER_SCHEMA))
    assert (got.error, got.finished, got.tool_calls) == (None, ["stop"], ())
    answer = json.loads(got.text)
    assert set(answer) == {"city", "people"}
    assert isinstance(answer["people"], int)


@promise("an answer in JSON costs what the vendor says")
@over(*JSONED)
async def test_json_usage(vendors: Vendors, case: Case) -> None:
    got = await vendors.ask(case, "", sampling=typed(ANSWER_SCHEMA))
    assert got.reported[-1] == Usage(got.call.prompt_tokens, got.call.output_tokens)
    thoughts, limit = cut_after(case, 2)
    cut = await vendors.ask(case, thoughts, sampling=typed(ANSWER_SCHEMA), output_limit=limit)
    assert (cut.error, cut.finished) == (None, ["length"])


@promise("an answer by a tool comes while the vendor still writes")
@over(*streamed(BY_TOOL))
async def test_answers_come_at_once(vendors: Vendors, case: Case) -> None:
    got = await vendors.ask(case, "pace_ms=1", sampling=typed(ANSWER_SCHEMA))
    assert got.text_pieces > 3


@promise("an answer by a tool may be a list")
@over(*BY_TOOL)
@pytest.mark.parametrize("how", ["", "split=1"])
async def test_json_list(vendors: Vendors, case: Case, how: str) -> None:
    schema = {"type": "array", "items": ANSWER_SCHEMA, "minItems": 2}
    got = await vendors.ask(case, f"unicode=1 {how}", sampling=typed(schema, "towns"))
    assert (got.error, got.finished) == (None, ["stop"])
    assert [set(town) for town in json.loads(got.text)] == [{"city", "people"}] * 2


@promise("a model that was held to JSON and spoke all the same is heard")
@over(*BY_TOOL)
async def test_text_instead_of_json(vendors: Vendors, case: Case) -> None:
    got = await vendors.ask(case, "calls=0 tokens=5", sampling=typed(ANSWER_SCHEMA))
    assert (got.error, got.finished) == (None, ["stop"])
    assert got.text == expected(case, "calls=0 tokens=5", got.call.key)


@promise("beside a schema tools can be called")
@over(*JSONED)
async def test_tools_and_schema(vendors: Vendors, case: Case) -> None:
    sampling, tools = typed(ANSWER_SCHEMA), Tools(offered=(CLOCK,))
    got = await vendors.ask(case, "preface=3", tools=tools, sampling=sampling)
    assert (got.error, got.finished) == (None, ["tool_calls"])
    assert [call.name for call in got.tool_calls] == ["clock"]
    assert got.text.startswith("[simulated")
    if json_form(case.model, tools, JsonAnswer(schema=ANSWER_SCHEMA)) == "tool":
        both = await vendors.ask(case, "preface=1 calls=2", tools=tools, sampling=sampling)
        assert (both.finished, [call.name for call in both.tool_calls]) == (["tool_calls"], ["clock"])
        assert both.text.endswith("}")


@promise("an answer by a tool that breaks off is an error")
@over(*BY_TOOL)
@pytest.mark.parametrize("fault", ["cut", "early_end", "error_event status=500"])
async def test_broken_answer(vendors: Vendors, case: Case, fault: str) -> None:
    got = await vendors.ask(case, f"pace_ms=1 after=2 fault={fault}", sampling=typed(ANSWER_SCHEMA))
    assert type(got.error) is ProviderError
    assert len(got.calls) == 1
