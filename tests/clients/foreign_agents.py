"""Agents of the command line against the service, as their pages set them up (`make test-clients`): what each was asked, and
whether that works. The simulated model plays a plan, so that an agent does a whole task.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import sys
from contextlib import suppress
from pathlib import Path
from signal import SIGKILL
from typing import Any

import msgspec
import pytest

from shared.ids import new_id
from tests.clients.agents import AGENTS, ANSWER, CLAUDE, FILE, NO_CREDIT, PROMPT, THINKING, THINKS, Agent, calling
from tests.clients.conftest import NewKey
from tests.clients.gateway import Gateway, blocks_of
from tests.clients.homes import folder_of, set_up
from tests.harness.cluster import Cluster

SECRET = "4711"
TOWN = '{"type":"object","properties":{"name":{"type":"string"}},"required":["name"],"additionalProperties":false}'
PATIENCE_S = 280
PAGES = sorted({(agent.page, agent.block): name for name, agent in AGENTS.items()}.items())


@pytest.mark.parametrize("name", [name for _, name in PAGES])
async def test_what_its_page_says_runs(gateway: Gateway, tmp_path: Path, name: str) -> None:
    agent = AGENTS[name]
    code, said = await run(agent, blocks_of(agent.page)[agent.block].code, gateway, tmp_path)
    assert code == 0, said
    assert re.search(agent.does, said), said


@pytest.mark.parametrize(
    ("name", "asked"),
    [(name, way) for name, agent in AGENTS.items() for way in ("plain", "stream") if way in agent.asks],
)
async def test_it_says_what_the_model_says(
    service: Cluster, gateway: Gateway, tmp_path: Path, name: str, asked: str
) -> None:
    said = await ask(name, asked, AGENTS[name].answer, service, gateway, tmp_path)
    assert ANSWER in whole(said), said


@pytest.mark.parametrize("name", AGENTS)
async def test_it_does_what_the_model_calls_for_and_tells_what_came_of_it(
    service: Cluster, gateway: Gateway, tmp_path: Path, name: str
) -> None:
    said = await ask(name, "task", AGENTS[name].turn, service, gateway, tmp_path)
    assert SECRET in said, said


@pytest.mark.parametrize("model", THINKING)
async def test_claude_code_works_with_models_that_think(
    service: Cluster, gateway: Gateway, tmp_path: Path, model: str
) -> None:
    """It reads a file after a first thought, and answers after a second one."""
    agent = AGENTS["claude-code"]
    file, key = tmp_path / "note.txt", new_id("plan")
    file.write_text(f"The secret is {SECRET}.\n", "utf-8")
    await service.simulator.plan({"key": key, "turns": [calling("Read", file_path=str(file))]})
    options = "--allowedTools Read --verbose --output-format stream-json"
    asks = f"ANTHROPIC_MODEL={model} {THINKS} {CLAUDE} {PROMPT} {options}"
    prompt = f"Hello! [[sim plan={key} key={key} reasoning=5]]"
    code, said = await run(agent, f"{set_up(agent.page, agent.block)}\n{asks}", gateway, tmp_path, PROMPT=prompt)
    assert (code, SECRET in said) == (0, True), said
    assert len(re.findall(r'"content":\[{"type":"thinking","thinking":"[^"]', said)) == 2, said
    assert [(call.api, call.thinks) for call in await service.simulator.calls(key)] == [(THINKING[model], True)] * 2


@pytest.mark.parametrize("name", [name for name, agent in AGENTS.items() if "schema" in agent.asks])
async def test_an_answer_follows_its_schema(service: Cluster, gateway: Gateway, tmp_path: Path, name: str) -> None:
    said = await ask(name, "schema", AGENTS[name].form, service, gateway, tmp_path)
    assert '"structured_output":{"name":"Paris"}' in said, said


@pytest.mark.parametrize("name", AGENTS)
async def test_a_wrong_key_and_missing_credit_are_told(
    gateway: Gateway, new_key: NewKey, tmp_path: Path, name: str
) -> None:
    agent = AGENTS[name]
    for key, words in (("rml_wrong", agent.wrong_key), (await new_key(credit=0), NO_CREDIT)):
        home = tmp_path / new_id("home")
        home.mkdir()
        command = f"{set_up(agent.page, agent.block)}\n{agent.asks['plain']}"
        _, said = await run(agent, command, Gateway(gateway.url, key), home, PROMPT="Hello there!")
        assert re.search(words, said), said


async def ask(name: str, asked: str, turn: Any, service: Cluster, gateway: Gateway, home: Path) -> str:
    """What the agent says whose model takes this turn first."""
    agent = AGENTS[name]
    file = home / "note.txt"
    file.write_text(f"The secret is {SECRET}.\n", "utf-8")
    key = new_id("plan")
    turn = msgspec.json.decode(msgspec.json.encode(turn).replace(FILE.encode(), str(file).encode()))
    await service.simulator.plan({"key": key, "turns": [turn]})
    command = f"{set_up(agent.page, agent.block)}\n{agent.asks[asked]}"
    code, said = await run(agent, command, gateway, home, PROMPT=f"Hello! [[sim plan={key}]]", SCHEMA=TOWN)
    assert code == 0, said
    return said


def whole(said: str) -> str:
    """With what came in pieces of JSON put together."""
    pieces = re.findall(r'"text":("(?:[^"\\]|\\.)*")', said)
    return said + "".join(json.loads(piece) for piece in pieces)


async def run(agent: Agent, command: str, gateway: Gateway, home: Path, **variables: str) -> tuple[int, str]:
    """Its exit status and what it says, on both ways. It has a home of its own and knows nothing of this machine."""
    folder = folder_of(agent.client, agent.program)
    path = f"{folder}:{Path(sys.executable).parent}:{os.environ.get('PATH', os.defpath)}"
    environment = {"HOME": str(home), "PATH": path, "BASE_URL": gateway.url, "API_KEY": gateway.key, "NO_COLOR": "1"}
    process = await asyncio.create_subprocess_exec(
        "sh",
        "-c",
        command,
        cwd=home,
        env=environment | variables,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        async with asyncio.timeout(PATIENCE_S):
            said, _ = await process.communicate()
    finally:
        end_all_of(home)
        if process.returncode is None:
            process.kill()
            await process.wait()
    return process.returncode or 0, said.decode(errors="replace")


def end_all_of(home: Path) -> None:
    """Nothing is left running: agents start servers that outlive them. A process is known by its home, where there is
    `/proc`.
    """
    mark = f"HOME={home}\0".encode()
    for environment in Path("/proc").glob("[0-9]*/environ"):
        with suppress(OSError):  # of another user, or gone by now
            if mark in environment.read_bytes():
                os.kill(int(environment.parent.name), SIGKILL)
