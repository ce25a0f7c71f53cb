"""Clients that `make test` does not have: in JavaScript, and of older versions (`make test-clients`).

Each has an environment and tests of its own, and knows of the service what stands in its environment's variables.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from deploy.simulator.answer import prompt_tokens
from tests.clients.conftest import NewKey
from tests.clients.gateway import PAGES, ROOT, Gateway
from tests.clients.homes import HOMES
from tests.clients.responses.cells import CLIENT_PROGRAMS, Cell, asked, faults, program_of
from tests.harness.caller import expected, told

HERE = Path(__file__).parent
TOKENS = 60
PATIENCE_S = 180


@pytest.fixture
async def known(gateway: Gateway, new_key: NewKey) -> dict[str, str]:
    """What the clients' tests know: the address, keys, and one prompt with the exact answer to it."""
    prompt = told(tokens=TOKENS, unicode=1, surrogate=1, cached=2, pace_ms=1)
    exact = {"prompt": prompt, "answer": expected(prompt), "inputTokens": prompt_tokens([prompt]), "tokens": TOKENS}
    return {
        "BASE_URL": gateway.url,
        "API_KEY": gateway.key,
        "POOR_KEY": await new_key(credit=0),
        "SLOW_KEY": await new_key(rpm=1),
        "KNOWN": json.dumps(exact),
    }


NO_NODE = (
    "tests/clients/node/install.sh found no node and npm, which clients in JavaScript need: install both, then repeat"
)


@pytest.mark.parametrize("version", ["ai-6", "ai-7"])
async def test_vercels_ai_sdk(known: dict[str, str], version: str) -> None:
    """Its packages are found from where the tests lie, so each version has a copy of them."""
    home = HOMES / version
    if not (shutil.which("node") and (home / ".installed").exists()):
        pytest.skip(NO_NODE)
    files = sorted((HERE / "node").glob("*.mjs"))
    for file in files:
        (home / file.name).write_bytes(file.read_bytes())
    tests = [file.name for file in files if file.name.endswith(".test.mjs")]
    page = {"PAGE": str(PAGES / "vercel-ai-sdk.md")}
    await run(["node", "--test", "--test-reporter=spec", *tests], home, known | page)


@pytest.mark.parametrize("client", CLIENT_PROGRAMS)
async def test_the_newest_clients_of_the_responses_api(gateway: Gateway, cells: list[Cell], client: str) -> None:
    python = ROOT / ".venv-clients-responses" / "bin" / "python"
    said = await gateway.said_of(asked(gateway.url, cells), str(python), program_of(client))
    assert faults(cells, said) == []


async def test_openais_client_in_node(gateway: Gateway, cells: list[Cell]) -> None:
    """Its package is found from where the program lies, so it has a copy of it."""
    home = HOMES / "openai"
    if not (shutil.which("node") and (home / ".installed").exists()):
        pytest.skip(NO_NODE)
    (home / "table.mjs").write_bytes((HERE / "node" / "openai" / "table.mjs").read_bytes())
    ran = await run_quietly(["node", "table.mjs"], home, {"ASKED": asked(gateway.url, cells)})
    assert ran.code == 0, ran.complaints
    assert faults(cells, ran.said) == []


@pytest.mark.parametrize("major", [1, 2])
async def test_the_openai_client_of_an_older_major_version(known: dict[str, str], major: int) -> None:
    python = ROOT / f".venv-clients-openai-{major}" / "bin" / "python"
    checks = HERE / "older" / "openai_checks.py"
    await run([str(python), "-m", "pytest", "-c", str(checks.parent / "pytest.ini"), str(checks)], ROOT, known)


class Ran(NamedTuple):
    """How a program ended, and what it said meanwhile."""

    code: int
    said: str
    complaints: str


async def run_quietly(command: list[str], folder: Path, environment: dict[str, str]) -> Ran:
    """Run a program to its end."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    process = await asyncio.create_subprocess_exec(
        *command,
        cwd=folder,
        env=kept | environment,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(PATIENCE_S):
            said, complaints = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return Ran(process.returncode or 0, said.decode(), complaints.decode())


async def run(command: list[str], folder: Path, environment: dict[str, str]) -> None:
    """Run a client's tests, which report for themselves; fails when they fail."""
    sys.stdout.flush()
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    process = await asyncio.create_subprocess_exec(*command, cwd=folder, env=kept | environment)
    try:
        async with asyncio.timeout(PATIENCE_S):
            code = await process.wait()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if code:
        pytest.fail("its own report, above, says what has failed", pytrace=False)
