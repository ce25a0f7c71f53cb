"""The code on the pages about libraries runs as it stands, each with an environment of its own (`make test-clients`): a plain
answer, a stream, a loop of tools, an answer of a given form, and an error.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from tests.clients.gateway import PAGES, ROOT, Block, Gateway
from tests.clients.homes import home_of
from tests.harness.caller import told
from tests.harness.cluster import Cluster

TEXT = r"\[simulated"
TOOL = r"It is sunny in text\."
TOWN = r"Town\(name='text', inhabitants=\d+\)"
USAGE = rf"{TEXT}(?s:.*)\n(req_\w{{26}} )?\d+ 24\n"
JS_TOWN = r"\{ name: 'text', inhabitants: \d+ \}"
LIBRARIES = {
    "litellm": ("python", [USAGE, TEXT, TOOL, TOWN, r"(?m)^404 .*no-such-model"]),
    "llamaindex": ("python", [TEXT, TEXT, TOOL, TOWN, "^404 model_not_found\n$"]),
    "pydantic-ai": ("python", [USAGE, TEXT, TOOL, rf"{TOWN}\n{TOWN}\n$", "^404 model_not_found\n$"]),
    "node": (
        "js",
        [
            *(USAGE, TEXT, TOOL, JS_TOWN, "^NotFoundError 404 model_not_found\n$"),
            *(
                rf"{TEXT}(?s:.*)\n 24 tokens\n$",
                TOOL,
                rf"^sky succeeded {TEXT}",
                "^AuthenticationError 401 invalid_api_key\n$",
            ),
        ],
    ),
}
"""By page: the language of its code, and what each block says, as far as it matters."""


@pytest.mark.parametrize("page", LIBRARIES)
async def test_every_block_of_a_page_runs_and_says_what_it_should(gateway: Gateway, tmp_path: Path, page: str) -> None:
    language, patterns = LIBRARIES[page]
    home = home_of(page)
    blocks = re.findall(
        rf"^```{language}\n(.*?)^```", (PAGES / f"{page}.md").read_text("utf-8"), re.DOTALL | re.MULTILINE
    )
    if language == "js":
        node = shutil.which("node") or "node"
        answers = [await gateway.said_by_program(home, node, "--input-type=module", "--eval", code) for code in blocks]
    else:
        python = str(home / "bin" / "python")
        answers = await gateway.said_in_turn([Block(language, code) for code in blocks], python, tmp_path)
    for code, said, pattern in zip(blocks, answers, patterns, strict=True):
        assert re.search(pattern, said), f"{code}\n{said}"


async def test_instructor_asks_in_each_of_its_modes(service: Cluster, gateway: Gateway) -> None:
    await service.simulator.plan({"key": "town", "turns": [{"text": '{"name": "Oslo", "inhabitants": 7}'}]})
    prompt = told(plan="town")
    program = home_of("instructor") / "bin" / "python"
    said = await gateway.said_by_program(ROOT, str(program), "-m", "tests.clients.with_instructor", PROMPT=prompt)
    written, called = "Town(name='Oslo', inhabitants=7)", "Town(name='text', inhabitants=1)"
    assert dict(line.split(" ", 1) for line in said.splitlines()) == {
        **dict.fromkeys(("JSON", "MD_JSON", "ANTHROPIC_JSON"), written),
        **dict.fromkeys(("FUNCTIONS", "TOOLS", "TOOLS_STRICT", "JSON_SCHEMA"), called),
        **dict.fromkeys(("RESPONSES_TOOLS", "RESPONSES_TOOLS_WITH_INBUILT_TOOLS"), called),
        **dict.fromkeys(("ANTHROPIC_TOOLS", "ANTHROPIC_REASONING_TOOLS"), called),
        **dict.fromkeys(("PARALLEL_TOOLS", "ANTHROPIC_PARALLEL_TOOLS"), f"[{called}]"),
    }
