"""The code of the guide to batches runs as it stands, one block after the other."""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path

import pytest

from tests.clients.gateway import Block, Gateway, blocks_of

SAID = [
    r'"state":"in_progress","counts":{"total":2,',
    r'complete +yes\n\{"custom_id":"sky",(?s:.*)\n\{"custom_id":"sea",',
    r"^sky \[simulated",
    r"^sky \[simulated",
]
PATH = f'PATH="{Path(sys.executable).parent}:$PATH"\n'
"""Where `rebootml` is installed."""


@pytest.mark.skipif(not shutil.which("curl"), reason="curl is not installed")
async def test_every_block_of_the_guide_runs_and_says_what_it_should(gateway: Gateway, tmp_path: Path) -> None:
    programs = {"python": sys.executable, "sh": shutil.which("sh") or "/bin/sh"}
    for (language, code), pattern in zip(blocks_of("../guides/batches"), SAID, strict=True):
        block = Block(language, PATH + code if language == "sh" else code)
        said = await gateway.said_by(block, programs, tmp_path)
        assert re.search(pattern, said), said
