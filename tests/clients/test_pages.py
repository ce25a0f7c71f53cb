"""The code on the clients' pages runs as it stands, with the real clients."""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path

import pytest

from tests.clients.agents import AGENTS
from tests.clients.foreign_libraries import LIBRARIES
from tests.clients.gateway import CLIENTS, PAGES, Block, Gateway, blocks_of

TOWN = r"Town\(name='text', inhabitants=\d+\)"
TEXT = r"\[simulated"
SAID = {
    "curl": [
        rf'"response":"{TEXT}.*"price":0\.0000',
        rf"{TEXT}[^\x1e]*\x1e.*\"tokens_output\":24",
        r"event: chunk\n(?s:.*)event: done\n",
        rf'{TEXT}(?s:.*)"state":"succeeded"',
        r"^(req_\w{26})\n\1\n$",
        rf'"object":"chat.completion".*"content":"{TEXT}',
        r'"name":"openai-gpt-4o"(?s:.*)"available_usd":"9\.9',
    ],
    "openai": [
        rf"{TEXT}(?s:.*)req_\w+ \d+ 24\n",
        rf"{TEXT}(?s:.*)\n 24 tokens\n",
        r"It is sunny in text\.",
        TOWN,
        r"openai-gpt-4o by OpenAI\n",
        r"^NotFoundError 404 model_not_found req_\w{26}\n$",
        r"^1 request\n$",
    ],
    "responses": [
        rf"{TEXT}(?s:.*)resp_\w{{26}} \d+ 24\n",
        rf"{TEXT}(?s:.*)\n 24 tokens\n",
        r"It is sunny in text\.",
        TOWN,
        rf"{TEXT}(?s:.*)\ncompleted\n$",
    ],
    "openai-agents": [r"It is sunny in text\.", TOWN],
    "anthropic": [TEXT, TEXT, TEXT],
    "langchain": [
        rf"{TEXT}(?s:.*)'output_tokens': 24",
        rf"{TEXT}(?s:.*)'output_tokens': 24",
        r"It is sunny in text\.",
        TOWN,
    ],
    "instructor": [TOWN, rf"{TOWN}\n$"],
    "llm": [r"gpt-4o-mini-here", TEXT, r'\{"name": *"text", *"inhabitants": *\d+\}'],
}
"""What each block of a page says, as far as it matters."""
OTHERS = {"codex", "frameworks", "vercel-ai-sdk", *(agent.page for agent in AGENTS.values()), *LIBRARIES}
"""Pages that `make test-clients` tries, each with an environment of its own."""
BY_HAND = {"open-webui"}
"""A server with 7 GB of its own: what its page says is tried when either changes."""
VENDORS = {"anthropic", "openai", "responses"}
"""Whose clients they are."""


def test_every_page_is_tried() -> None:
    assert {path.stem for path in PAGES.glob("*.md")} - OTHERS - BY_HAND == set(SAID)


@pytest.mark.parametrize("page", list(SAID))
async def test_every_block_of_a_page_runs_and_says_what_it_should(gateway: Gateway, tmp_path: Path, page: str) -> None:
    blocks = blocks_of(page)
    said = await said_by(blocks, gateway, interpreters(page), tmp_path)
    for block, answer, pattern in zip(blocks, said, SAID[page], strict=True):
        assert re.search(pattern, answer), f"{block.code}\n{answer}"


async def said_by(blocks: list[Block], gateway: Gateway, programs: dict[str, str], home: Path) -> list[str]:
    """What each block says, one after the other: as one types them."""
    if any(block.language == "sh" for block in blocks):
        return [await gateway.said_by(block, programs, home) for block in blocks]
    return await gateway.said_in_turn(blocks, programs["python"], home)


def interpreters(page: str) -> dict[str, str]:
    """The vendors' own clients are those that are installed with the service; the others have an environment of their own."""
    if page == "curl" and not shutil.which("curl"):
        pytest.skip("curl is not installed")
    assert CLIENTS.is_dir(), "the clients are not installed: `make test` does it, or `make .venv-clients/.installed`"
    own = sys.executable if page in VENDORS else str(CLIENTS / "python")
    return {"python": own, "sh": shutil.which("sh") or "/bin/sh"}
