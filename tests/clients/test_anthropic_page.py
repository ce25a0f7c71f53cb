"""The code on the page about the `anthropic` client runs as it stands."""

from __future__ import annotations

import asyncio
import re
import sys
from pathlib import Path

import asyncpg

import api
from shared.ledger.accounts import create_account
from shared.ledger.api_keys import KeyRules, create_key
from shared.money import NanoUsd
from tests.harness.cluster import Cluster, running_cluster

PAGE = Path(api.__file__).parent / "pages" / "clients" / "anthropic.md"
BLOCKS = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
ENVIRONMENT = {"LEASE_S": "3"}


async def test_every_block_of_the_page_runs(tmp_path: Path) -> None:
    assert len(BLOCKS) == 3
    async with running_cluster(tmp_path / "service", ENVIRONMENT, doors=1, workers=1, direct=True) as cluster:
        key = await key_of(cluster)
        for block in BLOCKS:
            said = await output_of(block, {"BASE_URL": cluster.url("web-1"), "API_KEY": key})
            assert "[simulated" in said


async def key_of(cluster: Cluster) -> str:
    async with asyncpg.create_pool(cluster.postgres.url, min_size=1, max_size=1) as pool:
        account = await create_account(pool, "someone", NanoUsd(1_000_000_000))
        return (await create_key(pool, account.id, KeyRules())).key


async def output_of(code: str, environment: dict[str, str]) -> str:
    """What a program says that knows nothing but this environment; fails when it fails."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        code,
        env=environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(60):
        out, complaints = await process.communicate()
    assert process.returncode == 0, complaints.decode()
    return out.decode()
