"""One library, asked for an answer, a stream, the use of a tool and an answer of a given form, and asked with a wrong key.

`python -m tests.clients.frameworks NAME` reads `BASE_URL`, `API_KEY`, `TEXT_PROMPT`, `TOOL_PROMPT` and `FORM_PROMPT`, and
prints one object of JSON: what came of each way, by its name. A way that a library does not have is left out.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import os
import sys
from typing import Any

from tests.clients.frameworks.asking import CITIES
from tests.clients.frameworks.table import CLASSES

WAYS = {"text": "TEXT_PROMPT", "stream": "TEXT_PROMPT", "tool": "TOOL_PROMPT", "form": "FORM_PROMPT"}
WRONG_KEY = "rml_wrong"


async def main(name: str) -> None:
    """Ask in every way that the library has."""
    make, url = CLASSES[name], os.environ["BASE_URL"]
    row: dict[str, Any] = {}
    for way, prompt in WAYS.items():
        if hasattr(make, way):
            row[way] = await _said(make(url, os.environ["API_KEY"]), way, os.environ[prompt])
    row["cities"] = sorted(CITIES)
    try:
        row["wrong key"] = f"answered: {await _said(make(url, WRONG_KEY), 'text', 'Hello!')}"
    except Exception as error:  # noqa: BLE001 - what a library raises is what is asked for
        row["wrong key"] = f"raised: {type(error).__name__}: {error}"
    sys.stdout.write(f"\n{json.dumps(row)}\n")
    sys.stdout.flush()
    os._exit(0)  # some libraries leave threads behind that wait for servers of their makers


async def _said(library: Any, way: str, prompt: str) -> Any:
    ask = getattr(library, way)
    return await (ask(prompt) if inspect.iscoroutinefunction(ask) else asyncio.to_thread(ask, prompt))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
