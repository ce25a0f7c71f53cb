"""Libraries for agents, most of them in one environment (`make test-clients`): an answer, a stream, a loop of tools, an
answer of a given form, and a wrong key. The page of all of them has a row for each.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.clients.frameworks.asking import MODEL
from tests.clients.frameworks.table import CLASSES
from tests.clients.gateway import PAGES, ROOT, Gateway
from tests.clients.homes import home_of
from tests.clients.responses.cells import LOOKED, TOWN, answer_of
from tests.harness.caller import told
from tests.harness.cluster import Cluster

OF_THEIR_OWN = {"browser-use", "chatlas", "crewai", "inspect-ai", "openhands-sdk"}
"""Those whose dependencies do not go with the others'."""
QUIET = {
    "ANONYMIZED_TELEMETRY": "false",
    "CREWAI_DISABLE_TELEMETRY": "true",
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "OTEL_SDK_DISABLED": "true",
}
"""Libraries that would report to their makers do not."""
NAMES = {"semantic-kernel": "Plugin-weather"}
"""What the tool is called where a library puts something before its name."""
OUR_WORDS = "not one of our API keys"
ENDS = {"calls": [{"name": "final_answer", "arguments": {"answer": LOOKED["answer"]}}]}
"""How an agent of smolagents is told that it has ended."""
SWALLOWED = {"agno"}
"""They give an error as an answer."""


def test_the_page_has_a_row_for_each() -> None:
    page, _ = (PAGES / "frameworks.md").read_text("utf-8").split("## Tried by hand")
    assert set(re.findall(r"^\| `([a-z-]+)`", page, re.MULTILINE)) == set(CLASSES)


@pytest.mark.parametrize("name", CLASSES)
async def test_it_answers_streams_calls_tools_and_says_what_is_wrong(
    service: Cluster, gateway: Gateway, tmp_path: Path, name: str
) -> None:
    await service.simulator.plan({"key": name, "turns": turns(name)})
    prompt = told(tokens=30, calls=0, unicode=1, pace_ms=1)
    python = str(home_of(name if name in OF_THEIR_OWN else "frameworks") / "bin" / "python")
    program = [python, "-m", "tests.clients.frameworks", name]
    prompts = {"TEXT_PROMPT": prompt, "TOOL_PROMPT": told(plan=name), "FORM_PROMPT": f"Describe a town. {told()}"}
    said = await gateway.said_by_program(ROOT, *program, HOME=str(tmp_path), **prompts, **QUIET)
    row = json.loads(said.splitlines()[-1])
    wrong_key = row.pop("wrong key")
    text, cities = answer_of(MODEL, prompt), row.pop("cities")
    expected = {"text": text, "stream": text, "tool": LOOKED["answer"], "form": TOWN}
    assert row == {way: expected[way] for way in row if hasattr(CLASSES[name], way)}
    assert cities == (LOOKED["cities"] if "tool" in row else [])
    assert wrong_key.startswith("answered" if name in SWALLOWED else "raised")
    assert OUR_WORDS in wrong_key


def turns(name: str) -> list[dict[str, Any]]:
    """What the simulated model does: it calls the tool twice at once, then once, and answers."""
    tool = NAMES.get(name, "weather")
    calls = [{"name": tool, "arguments": {"city": city}} for city in ("Rome", "Oslo", "Lima")]
    return [{"calls": calls[:2]}, {"calls": calls[2:]}, ENDS if name == "smolagents" else {"text": LOOKED["answer"]}]
