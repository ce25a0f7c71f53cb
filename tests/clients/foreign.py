"""Clients that `make test` does not have: in JavaScript, and of older versions (`make test-clients`).

Each has an environment and tests of its own, and knows of the service what stands in its environment's variables.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import sys
from pathlib import Path

import pytest

from deploy.simulator.answer import prompt_tokens
from tests.clients.conftest import NewKey
from tests.clients.gateway import PAGES, Gateway
from tests.harness.caller import expected, told

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
TOKENS = 60
PATIENCE_S = 180
TOWN = {
    "type": "object",
    "properties": {"name": {"type": "string"}},
    "required": ["name"],
    "additionalProperties": False,
}


@pytest.fixture
async def known(gateway: Gateway, new_key: NewKey) -> dict[str, str]:
    """What the clients' tests know: the address, keys, and one prompt with the exact answer to it."""
    prompt = told(tokens=TOKENS, unicode=1, surrogate=1, cached=2, pace_ms=1)
    asked = {"prompt": prompt, "answer": expected(prompt), "inputTokens": prompt_tokens([prompt]), "tokens": TOKENS}
    return {
        "BASE_URL": gateway.url,
        "API_KEY": gateway.key,
        "POOR_KEY": await new_key(credit=0),
        "SLOW_KEY": await new_key(rpm=1),
        "KNOWN": json.dumps(asked),
    }


NO_NODE = (
    "tests/clients/node/install.sh found no node and npm, which clients in JavaScript need: install both, then repeat"
)


@pytest.mark.parametrize("version", ["ai-6", "ai-7"])
async def test_vercels_ai_sdk(known: dict[str, str], version: str) -> None:
    """Its packages are found from where the tests lie, so each version has a copy of them."""
    home = ROOT / ".clients" / version
    if not (shutil.which("node") and (home / ".installed").exists()):
        pytest.skip(NO_NODE)
    files = sorted((HERE / "node").glob("*.mjs"))
    for file in files:
        (home / file.name).write_bytes(file.read_bytes())
    tests = [file.name for file in files if file.name.endswith(".test.mjs")]
    page = {"PAGE": str(PAGES / "vercel-ai-sdk.md")}
    await run(["node", "--test", "--test-reporter=spec", *tests], home, known | page)


async def test_codex(known: dict[str, str], tmp_path: Path) -> None:
    """Set up as its page says. It offers tools of all kinds, and its models ask for six of them at once."""
    program = ROOT / ".clients" / "codex" / "node_modules" / ".bin" / "codex"
    if not (shutil.which("node") and program.exists()):
        pytest.skip(NO_NODE)
    (config,) = re.findall(r"^```toml\n(.*?)^```", (PAGES / "codex.md").read_text("utf-8"), re.DOTALL | re.MULTILINE)
    (tmp_path / "config.toml").write_text(config.replace("http://localhost:8080", known["BASE_URL"]), "utf-8")
    (tmp_path / "schema.json").write_text(json.dumps(TOWN), "utf-8")
    environment = {"CODEX_HOME": str(tmp_path), "REBOOTML_API_KEY": known["API_KEY"]}
    ask = [str(program), "exec", "--skip-git-repo-check", "--sandbox", "read-only"]
    prompt = told(tokens=5, calls=0)
    assert (await said_by([*ask, prompt], tmp_path, environment)).strip() == expected(prompt)
    answer = await said_by([*ask, "--output-schema", "schema.json", prompt], tmp_path, environment)
    assert json.loads(answer) == {"name": "text"}
    for model in ("openai-gpt-4o-mini", "anthropic-claude-3-5-sonnet-v2"):
        answer = await said_by([*ask, "--model", model, told(tokens=5, calls=6)], tmp_path, environment)
        assert "The tool said" in answer


@pytest.mark.parametrize("major", [1, 2])
async def test_the_openai_client_of_an_older_major_version(known: dict[str, str], major: int) -> None:
    python = ROOT / f".venv-clients-openai-{major}" / "bin" / "python"
    checks = HERE / "older" / "openai_checks.py"
    await run([str(python), "-m", "pytest", "-c", str(checks.parent / "pytest.ini"), str(checks)], ROOT, known)


async def said_by(command: list[str], folder: Path, environment: dict[str, str]) -> str:
    """What a program says; fails when it fails."""
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
    assert process.returncode == 0, complaints.decode()
    return said.decode()


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
