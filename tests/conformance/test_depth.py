"""Schemas, arguments and results as deep as any operator can allow, on a stack that is deeper than a worker's."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from shared.chat import JsonAnswer, Message, Sampling, Tool, ToolCall, Tools
from shared.json_bounds import JSON_DEPTH_CEILING, Bounds, excess, put_in_force
from tests.conformance.cases import Answer, Case, Vendors, over, promise
from tests.conformance.offers import CLOCK, JSONED, TOOLED

FRAMES_ABOVE = 100
"""A worker calls a provider with some 40."""


def deep(levels: int) -> dict[str, Any]:
    """A schema of objects in each other, of exactly so many levels; it is an object with a property, too."""
    schema: dict[str, Any] = {"type": "string"}  # Gemini takes no object without properties
    if levels % 2 == 0:
        schema = {"type": "array", "items": schema}
    while depth_of(schema) + 2 <= levels:
        schema = {"type": "object", "properties": {"p": schema}}
    return schema


def depth_of(value: object) -> int:
    text = msgspec.json.encode(value)
    return next(depth for depth in range(sys.getrecursionlimit()) if excess(Bounds(10**6, depth), text) is None)


AS_DEEP_AS_MAY_BE = deep(JSON_DEPTH_CEILING)


@pytest.fixture
def ceiling() -> Iterator[None]:
    put_in_force(Bounds(depth_max=JSON_DEPTH_CEILING))
    yield
    put_in_force(Bounds())


async def ask_from_below(frames: int, vendors: Vendors, case: Case, **asked: Any) -> Answer:
    if frames:
        return await ask_from_below(frames - 1, vendors, case, **asked)
    return await vendors.ask(case, "calls=0 tokens=3", **asked)


def test_it_is_as_deep_as_may_be() -> None:
    assert depth_of(AS_DEEP_AS_MAY_BE) == JSON_DEPTH_CEILING


@promise("a tool's schema as deep as may be reaches the vendor")
@over(*TOOLED)
async def test_deep_schema_of_a_tool(vendors: Vendors, case: Case) -> None:
    tools = Tools(offered=(Tool(name="deep", parameters=AS_DEEP_AS_MAY_BE),))
    got = await ask_from_below(FRAMES_ABOVE, vendors, case, tools=tools)
    assert (got.error, got.finished) == (None, ["stop"])


@promise("an answer's schema as deep as may be reaches the vendor")
@over(*JSONED)
async def test_deep_schema_of_an_answer(vendors: Vendors, case: Case) -> None:
    answer = JsonAnswer(schema=AS_DEEP_AS_MAY_BE)
    got = await ask_from_below(FRAMES_ABOVE, vendors, case, sampling=Sampling(json_answer=answer))
    assert (got.error, got.finished) == (None, ["stop"])
    array = JsonAnswer(schema={"type": "array", "items": deep(JSON_DEPTH_CEILING - 1)})
    if case.api not in {"openai-chat", "openai-responses"}:  # which takes objects only
        wrapped = await ask_from_below(FRAMES_ABOVE, vendors, case, sampling=Sampling(json_answer=array))
        assert (wrapped.error, wrapped.finished) == (None, ["stop"])


@promise("arguments and results in the history, as deep as may be, reach the vendor")
@over(*TOOLED)
@pytest.mark.parametrize("inside", ["objects", "lists"])
async def test_deep_arguments(vendors: Vendors, case: Case, inside: str, ceiling: None) -> None:
    lists: Any = []
    for _ in range(JSON_DEPTH_CEILING - 2):
        lists = [lists]
    text = msgspec.json.encode(AS_DEEP_AS_MAY_BE if inside == "objects" else {"x": lists}).decode()
    assert depth_of(msgspec.json.decode(text)) == JSON_DEPTH_CEILING
    after = (
        Message("assistant", "", tool_calls=(ToolCall("call_1", "clock", text),)),
        Message("tool", text, tool_call_id="call_1"),
    )
    got = await ask_from_below(FRAMES_ABOVE, vendors, case, tools=Tools(offered=(CLOCK,)), after=after)
    assert (got.error, got.finished) == (None, ["stop"])
