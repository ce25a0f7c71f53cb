"""The table: what each client is asked with each model, and what it should say."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from deploy.simulator.answer import answer
from deploy.simulator.script import Script, from_message
from shared.catalogue.models import load_catalogue
from tests.clients.responses.asking import GOES_ON
from tests.harness.caller import told

MODELS = ("openai-gpt-4o-mini", "anthropic-claude-sonnet-4-6", "google-gemini-3.8-flash", "deepseek-flash")
"""Of OpenAI, of Bedrock, of Google and of DeepSeek."""
CLIENT_PROGRAMS = ("openai", "agents", "pydantic_ai", "langchain")
"""The clients in Python: each has a program beside this file."""
PLAN: dict[str, Any] = {
    "key": "weather",
    "turns": [
        {"text": "I look.", "calls": [{"name": "weather", "arguments": {"city": city}} for city in ("Rome", "Oslo")]},
        {"calls": [{"name": "weather", "arguments": {"city": "Lima"}}]},
        {"text": "It is sunny everywhere."},
    ],
}
"""What the simulated models do with the tool."""
LOOKED = {"answer": "It is sunny everywhere.", "cities": ["Lima", "Oslo", "Rome"]}
TOWN = {"name": "text", "inhabitants": 1}
"""What the simulated models say where such an object is wanted."""
BROKEN_OFF = "broken off"
"""Whatever the client raises: it must not take a part of an answer for the whole."""


class Refused(NamedTuple):
    """An error with this status and code."""

    status: int
    code: str


class Cell(NamedTuple):
    """What is asked, and what is to be said: a value, or how it is refused."""

    model: str
    case: str
    ask: dict[str, str]
    expected: Any

    @property
    def name(self) -> str:
        return f"{self.model}: {self.case}"


class Keys(NamedTuple):
    """Of an account with credit, and of one without."""

    good: str
    poor: str


def table(keys: Keys, models: Iterable[str] = MODELS) -> list[Cell]:
    """All cells."""
    return [cell for model in models for cell in _cells(model, keys)]


def program_of(client: str) -> str:
    """The module that is run."""
    return f"tests.clients.responses.with_{client}"


def asked(url: str, cells: Iterable[Cell]) -> str:
    """What a client's program is told in `ASKED`."""
    return json.dumps({"url": url, "asks": [{"cell": cell.name, **cell.ask} for cell in cells]})


def faults(cells: Iterable[Cell], output: str) -> list[str]:
    """What is not as it should be in what a client's program has said."""
    rows = {row["cell"]: row for row in (json.loads(line) for line in output.split("\n") if line)}
    return [f"{cell.name}: {row}" for cell in cells if not _is_right(cell, row := rows.get(cell.name, {}))]


def answer_of(model: str, prompt: str) -> str:
    """What the simulated model says."""
    vendor_model = load_catalogue().serving(model).vendor_model
    return "".join(answer(vendor_model, prompt, from_message(prompt, Script())))


def _cells(model: str, keys: Keys) -> Iterator[Cell]:
    prompt, form = told(tokens=40, unicode=1, surrogate=1, pace_ms=1), told(tokens=5)
    text = answer_of(model, prompt)

    def cell(case: str, expected: Any, way: str = "text", *, key: str = keys.good, **other: str) -> Cell:
        return Cell(model, case, {"way": way, "key": key, "model": model, "prompt": prompt} | other, expected)

    yield cell("text", text)
    yield cell("stream", text, "stream")
    for way in ("tools", "tools, streamed", GOES_ON):
        yield cell(way, LOOKED, way, prompt=told(plan="weather"))
    yield cell("schema", TOWN, "schema", prompt=form)
    yield cell("wrong key", Refused(401, "invalid_api_key"), key="sk-wrong")
    yield cell("unknown model", Refused(404, "model_not_found"), model=f"{model}-x")
    yield cell("no credit", Refused(402, "insufficient_credit"), key=keys.poor)
    yield cell("no credit, streamed", Refused(402, "insufficient_credit"), "stream", key=keys.poor)
    yield cell(BROKEN_OFF, BROKEN_OFF, "stream", prompt=told(tokens=20, fault="cut", after=5, pace_ms=1))


def _is_right(cell: Cell, row: dict[str, Any]) -> bool:
    said, refused = row.get("said"), row.get("refused", {})
    match cell.expected:
        case Refused(status, code):
            return (refused.get("status"), refused.get("code")) == (status, code)
        case "broken off":
            return bool(refused)
        case str(text) if isinstance(said, list):
            return "".join(said) == text  # in how many pieces depends on how busy the machine is
        case expected:
            return bool(said == expected)
