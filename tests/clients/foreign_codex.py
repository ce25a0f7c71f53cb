"""OpenAI's Codex, set up as its page says, with models of four vendors: it always streams (`make test-clients`)."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from shared.ids import new_id
from tests.clients.agents import THINKING
from tests.clients.conftest import NewKey
from tests.clients.foreign import NO_NODE, Ran, run_quietly
from tests.clients.gateway import PAGES, Gateway
from tests.clients.homes import HOMES
from tests.clients.responses.cells import MODELS, answer_of
from tests.harness.caller import told
from tests.harness.cluster import Cluster

PROGRAM = HOMES / "codex" / "node_modules" / ".bin" / "codex"
MODEL = "openai-gpt-4o-mini"
TOWN = {
    "type": "object",
    "properties": {"name": {"type": "string"}},
    "required": ["name"],
    "additionalProperties": False,
}
PATCH = """*** Begin Patch
*** Update File: town.txt
@@
-Rome
+Oslo
*** End Patch"""
PLAN: dict[str, Any] = {
    "key": "codex",
    "turns": [
        {"text": "I look.", "calls": [{"name": "exec_command", "arguments": {"cmd": "cat town.txt > seen.txt"}}]},
        {"calls": [{"name": "apply_patch", "arguments": {"input": PATCH}}]},
        {"text": "All done."},
    ],
}
"""A command, and a change to a file in the form that only Codex knows."""
NO_REPEATS = "stream_max_retries = 0\nrequest_max_retries = 0\n"


class Codex(NamedTuple):
    """Codex with a home of its own and a key."""

    home: Path
    key: str

    async def __call__(self, folder: Path, prompt: str, *options: str, model: str = MODEL, key: str = "") -> Ran:
        """Run it in a folder, which it may change: what it does there stands in the prompt."""
        environment = {"CODEX_HOME": str(self.home), "REBOOTML_API_KEY": key or self.key}
        trusting = ("--skip-git-repo-check", "--dangerously-bypass-approvals-and-sandbox")
        command = [str(PROGRAM), "exec", *trusting, "--model", model, *options, prompt]
        return await run_quietly(command, folder, environment)


@pytest.fixture
async def codex(gateway: Gateway, service: Cluster, tmp_path: Path) -> Codex:
    if not (shutil.which("node") and PROGRAM.exists()):
        pytest.skip(NO_NODE)
    await service.simulator.plan(PLAN)
    page = (PAGES / "codex.md").read_text("utf-8")
    (config,) = re.findall(r"^```toml\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    (line,) = re.findall(r"`(model_catalog_url = [^`]*)`", page)
    home = tmp_path / "home"
    home.mkdir()
    told_once = f"{config}{line}\n{NO_REPEATS}".replace("http://localhost:8080", gateway.url)
    (home / "config.toml").write_text(told_once, "utf-8")
    (tmp_path / "schema.json").write_text(json.dumps(TOWN), "utf-8")
    (tmp_path / "town.txt").write_text("Rome\n", "utf-8")
    return Codex(home, gateway.key)


@pytest.mark.parametrize("model", MODELS)
async def test_it_answers_in_text_and_in_a_form(codex: Codex, tmp_path: Path, model: str) -> None:
    prompt = told(tokens=40, calls=0, unicode=1, surrogate=1, pace_ms=1, key="codex")
    text = await codex(tmp_path, prompt, model=model)
    assert (text.code, text.said.strip()) == (0, answer_of(model, prompt).strip())
    formed = await codex(tmp_path, told(tokens=5), "--output-schema", "schema.json", model=model)
    assert (formed.code, json.loads(formed.said)) == (0, {"name": "text"})


@pytest.mark.parametrize("model", MODELS)
async def test_it_runs_commands_and_applies_patches(codex: Codex, tmp_path: Path, model: str) -> None:
    ran = await codex(tmp_path, told(plan="codex"), model=model)
    assert (ran.code, ran.said.strip()) == (0, "All done.")
    assert [(tmp_path / name).read_text("utf-8") for name in ("seen.txt", "town.txt")] == ["Rome\n", "Oslo\n"]


@pytest.mark.parametrize("model", THINKING)
async def test_it_goes_on_with_what_models_think(codex: Codex, service: Cluster, tmp_path: Path, model: str) -> None:
    key, effort = new_id("plan"), 'model_reasoning_effort="high"'
    await service.simulator.plan({**PLAN, "key": key})
    ran = await codex(tmp_path, told(plan=key, key=key, reasoning=5), "--config", effort, model=model)
    assert (ran.code, ran.said.strip()) == (0, "All done."), ran.complaints
    assert [(tmp_path / name).read_text("utf-8") for name in ("seen.txt", "town.txt")] == ["Rome\n", "Oslo\n"]
    assert [(call.api, call.thinks) for call in await service.simulator.calls(key)] == [(THINKING[model], True)] * 3


@pytest.mark.parametrize("model", MODELS)
async def test_it_says_what_is_wrong(codex: Codex, tmp_path: Path, new_key: NewKey, model: str) -> None:
    broken_off = told(calls=0, tokens=20, fault="cut", after=5, pace_ms=1)
    for words, prompt, fields in (
        ("401 Unauthorized: This is not one of our API keys", told(), {"key": "sk-wrong", "model": model}),
        (f"There is no model '{model}-x'. The nearest are {model}", told(), {"model": f"{model}-x"}),
        (f"402 Payment Required: {model} needs up to", told(), {"key": await new_key(credit=0), "model": model}),
        ("The connection to the vendor failed or broke off", broken_off, {"model": model}),
    ):
        ran = await codex(tmp_path, prompt, **fields)
        assert (ran.code, ran.said) == (1, "")
        assert words in ran.complaints


@pytest.mark.parametrize("model", MODELS)
async def test_it_answers_calls_of_six_of_its_tools_at_once(codex: Codex, tmp_path: Path, model: str) -> None:
    """It offers tools of all kinds, those of a namespace among them."""
    ran = await codex(tmp_path, told(tokens=5, calls=6), model=model)
    assert ran.code == 0, ran.complaints
    assert "The tool said" in ran.said
