"""The service with an operator's overlay: another price, a successor, and vendors that speak OpenAI's protocol."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

from deploy.simulator.app import running_simulator
from tests.harness.cluster import Cluster, running_cluster
from tests.harness.support import free_port

CHANGED = """
[[model]]
name = "openai-o1-mini"
price_factor = 2

[[model]]
name = "openai-o1"
successor = "gpt-4o"

[[model]]
name = "openai-gpt-4o-mini-rt-preview"
input = 999999999
output = 999999999
"""
ADDED = """
[[model]]
name = "{name}"
company = "Acme"
provider = "openai"
api = "openai-chat"
upstream = "gpt-4o-2024-08-06"
base_url = "{url}"
key_variable = "ACME_KEY"
input = 1
output = 2
context_window = 8000
max_output_tokens = 1000
limit_parameter = "max_tokens"
lifecycle = "active"
sources = "the operator"
"""
HASTY_S = 2.0
ENVIRONMENT = {
    "ACME_KEY": "acme",
    "LEASE_S": "1",
    "ABANDONED_AFTER_S": "0.1",
    "DRAIN_S": "0.5",
    "IDLE_TIMEOUT_S": "4",
    "VENDOR_RETRIES_MAX": "2",
    "WORKER_MISSING_S": "60",
    "REQUEST_DEADLINE_S": "20",
    "RETRY_DELAY_S": "1",
    "RETRY_IN_PLACE_S": "2",
}
"""Beside what every service of these tests has: it acts soon and waits long, also between two calls of a vendor."""


class SilentServer:
    """Takes connections and never says a word, so that no TLS connection to it comes about."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if await reader.read(1):
            self.asked.set()
        await reader.read()
        writer.close()


class Overlaid(NamedTuple):
    """`silent` stands behind the model of that name. The cluster's shared front door gives a request `HASTY_S` seconds."""

    cluster: Cluster
    silent: SilentServer


@asynccontextmanager
async def running_overlaid(folder: Path, environment: Mapping[str, str]) -> AsyncIterator[Overlaid]:
    """One front door that has patience, a hasty one, and one worker. `acme-large` is another simulator's, behind `silent` and
    `nowhere` is nobody who answers.
    """
    silent = SilentServer()
    async with running_simulator() as acme, await asyncio.start_server(silent.serve, "127.0.0.1", 0) as listening:
        vendors = {
            "acme-large": acme.openai,
            "silent": f"https://127.0.0.1:{listening.sockets[0].getsockname()[1]}/v1",
            "nowhere": f"http://127.0.0.1:{free_port()}/v1",
        }
        overlay = folder / "overlay.toml"
        overlay.write_text(CHANGED + "".join(ADDED.format(name=name, url=url) for name, url in vendors.items()))
        settings = {**environment, **ENVIRONMENT, "CATALOGUE": str(overlay)}
        async with running_cluster(folder, settings, doors=1, workers=1, direct=True) as cluster:
            cluster.start("web-hasty", shared=True, REQUEST_DEADLINE_S=str(HASTY_S))
            await cluster.until_log("web-hasty", "front door open")
            yield Overlaid(cluster, silent)
