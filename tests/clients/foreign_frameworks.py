"""Libraries for agents, in one environment (`make test-clients`): an answer, a stream, a loop of tools, and a wrong key. The
page of all of them has a row for each.
"""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from tests.clients.gateway import PAGES, ROOT, Gateway
from tests.clients.homes import home_of
from tests.clients.responses.cells import LOOKED, answer_of
from tests.clients.with_frameworks import CLASSES, MODEL
from tests.harness.caller import told
from tests.harness.cluster import Cluster

HOMES_OF = {"chatlas": "chatlas"}
"""Environments of those whose dependencies do not go with the others'."""
NAMES = {"semantic-kernel": "Plugin-weather"}
"""What the tool is called where a library puts something before its name."""
OUR_WORDS = "not one of our API keys"
ENDS = {"calls": [{"name": "final_answer", "arguments": {"answer": LOOKED["answer"]}}]}
"""How an agent of smolagents is told that it has ended."""
SWALLOWED = {"agno"}
"""They give an error as an answer."""


def test_the_page_has_a_row_for_each() -> None:
    page = (PAGES / "frameworks.md").read_text("utf-8")
    assert set(re.findall(r"^\| `([a-z-]+)`", page, re.MULTILINE)) == set(CLASSES)


@pytest.mark.parametrize("name", CLASSES)
async def test_it_answers_streams_calls_tools_and_says_what_is_wrong(
    service: Cluster, gateway: Gateway, name: str
) -> None:
    await service.simulator.plan({"key": name, "turns": turns(name)})
    prompt = told(tokens=30, calls=0, unicode=1, pace_ms=1)
    python = str(home_of(HOMES_OF.get(name, "frameworks")) / "bin" / "python")
    program = [python, "-m", "tests.clients.with_frameworks", name]
    said = await gateway.said_by_program(ROOT, *program, TEXT_PROMPT=prompt, TOOL_PROMPT=told(plan=name))
    row = json.loads(said.splitlines()[-1])
    wrong_key = row.pop("wrong key")
    text, cities = answer_of(MODEL, prompt), row.pop("cities")
    expected = {"text": text, "stream": text, "tool": LOOKED["answer"]}
    assert row == {way: expected[way] for way in row if hasattr(CLASSES[name], way)}
    assert cities == (LOOKED["cities"] if "tool" in row else [])
    assert wrong_key.startswith("answered" if name in SWALLOWED else "raised")
    assert OUR_WORDS in wrong_key


def turns(name: str) -> list[dict[str, Any]]:
    """What the simulated model does: it calls the tool twice at once, then once, and answers."""
    tool = NAMES.get(name, "weather")
    calls = [{"name": tool, "arguments": {"city": city}} for city in ("Rome", "Oslo", "Lima")]
    return [{"calls": calls[:2]}, {"calls": calls[2:]}, ENDS if name == "smolagents" else {"text": LOOKED["answer"]}]
