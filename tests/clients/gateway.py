"""The service for foreign programs: its address and a key, and nothing else in common with them."""

from __future__ import annotations

import asyncio
import os
import re
from pathlib import Path
from typing import NamedTuple

import api

PAGES = Path(api.__file__).parent / "pages" / "clients"
ROOT = Path(__file__).parents[2]
CLIENTS = ROOT / ".venv-clients" / "bin"
"""Where `make test` installs them."""
_BLOCK = re.compile(r"^```(python|sh)\n(.*?)^```", re.DOTALL | re.MULTILINE)
PATIENCE_S = 280
_END = "\N{END OF TRANSMISSION}"
_IN_TURN = f"""
import sys
for code in sys.argv[1:]:
    exec(compile(code, "a block of the page", "exec"), {{"__name__": "__main__"}})
    print(end={_END!r})
"""


class Block(NamedTuple):
    """Code on a page, in `python` or `sh`."""

    language: str
    code: str


def blocks_of(page: str) -> list[Block]:
    """The code on a page, in order."""
    return [Block(*found) for found in _BLOCK.findall((PAGES / f"{page}.md").read_text(encoding="utf-8"))]


class Gateway(NamedTuple):
    """Where the service is, and a key."""

    url: str
    key: str

    async def said_by(self, block: Block, interpreters: dict[str, str], home: Path) -> str:
        """What the program says, which has two variables and a home of its own; fails when it fails."""
        option = "-c" if block.language == "python" else "-ec"
        return await self.said_by_program(home, interpreters[block.language], option, block.code)

    async def said_in_turn(self, blocks: list[Block], python: str, home: Path) -> list[str]:
        """What programs say that one process runs, each with variables of its own, so that it loads the client once."""
        said = await self.said_by_program(home, python, "-c", _IN_TURN, *(block.code for block in blocks))
        return said.split(_END)[:-1]

    async def said_of(self, asked: str, python: str, module: str) -> str:
        """What a program of this project says that is told in `ASKED` what to ask."""
        return await self.said_by_program(ROOT, python, "-m", module, ASKED=asked)

    async def said_by_program(self, home: Path, *command: str, **told: str) -> str:
        """What a program says that starts in this folder; fails when it fails."""
        process = await asyncio.create_subprocess_exec(
            *command,
            cwd=home,
            env=self._environment(home) | told,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            async with asyncio.timeout(PATIENCE_S):
                said, complaints = await process.communicate()
        finally:
            await _end(process)
        assert process.returncode == 0, complaints.decode()
        return said.decode()

    def _environment(self, home: Path) -> dict[str, str]:
        path = f"{CLIENTS}:{os.environ.get('PATH', os.defpath)}"
        return {"BASE_URL": self.url, "API_KEY": self.key, "HOME": str(home), "PATH": path}


async def _end(process: asyncio.subprocess.Process) -> None:
    """Nothing is left running, whatever happened."""
    if process.returncode is None:
        process.kill()
        await process.communicate()
