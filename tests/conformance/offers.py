"""The tools and schemas of these tests, and which cases know them."""

from __future__ import annotations

from typing import Any

from shared.chat import Tool, Tools
from tests.conformance.cases import CASES, Case

WEATHER = Tool(
    name="get_weather",
    description="The weather at a place.",
    parameters={
        "type": "object",
        "properties": {
            "place": {"type": "string"},
            "days": {"type": "integer", "minimum": 3},
            "unit": {"enum": ["celsius", "kelvin"]},
            "near": {"type": "array", "items": {"$ref": "#/$defs/spot"}},
        },
        "required": ["place"],
        "$defs": {"spot": {"type": "object", "properties": {"name": {"type": "string"}, "x": {"type": "number"}}}},
    },
)
CLOCK = Tool(name="clock")
OFFERED = Tools(offered=(WEATHER, CLOCK))
TOOLED = [case for case in CASES if case.model.tools]
JSONED = [case for case in CASES if case.model.json_mode or case.model.can_be_made_to_call]
ANSWER_SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "people": {"type": "integer"}},
    "required": ["city", "people"],
    "additionalProperties": False,
}
FRAMINGS = ["", "split=1", "surrogate=1", "split=1 surrogate=1", "pace_ms=1"]


def streamed(cases: list[Case]) -> list[Case]:
    return [case for case in cases if case.stream]
