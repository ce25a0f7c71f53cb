"""The service with an operator's overlay: another price, successors, and vendors that speak OpenAI's protocol."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from deploy.simulator.app import running_simulator
from tests.harness.cluster import Cluster, running_cluster
from tests.harness.support import free_port

CHANGED = """
[[model]]
name = "openai-gpt-5.2"
price_factor = 2

[[model]]
name = "openai-o1"
successor = "gpt-4o"

[[model]]
name = "openai-o3-mini"
replaced_by = ""

[[model]]
name = "openai-gpt-4o-rt-preview"
replaced_by = ""

[[model]]
name = "openai-gpt-4o-mini-rt-preview"
replaced_by = ""
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
TIERED = """
[[model]]
name = "{name}"
company = "Acme"
provider = "{provider}"
api = "{api}"
upstream = "{upstream}"
input = 2
output = 10
cached = 0.1
cache_write = 2.5
cache_write_long = 5
long_context = {{ above = {above}, input = 4, output = 15, cached = 0.2, cache_write = 5.5, cache_write_long = 10 }}
price_factor = 1.5
{more}
context_window = 30000
max_output_tokens = 5000
limit_parameter = "{limit_parameter}"
lifecycle = "active"
sources = "the operator"
"""
ABOVE = 1_000
VENDORS = {
    "openai": ("openai-chat", "gpt-4o-mini-2024-07-18", "max_completion_tokens"),
    "deepseek": ("deepseek-chat", "deepseek-chat", "max_tokens"),
    "bedrock": ("bedrock-converse", "amazon.nova-lite-v1:0", "maxTokens"),
    "gemini": ("gemini", "gemini-2.0-flash", "maxOutputTokens"),
}
"""Each has a model `tiered-…`; of OpenAI's are the others, too."""
HASTY_S = 2.0
ENVIRONMENT = {
    "ACME_KEY": "acme",
    "USE_SUCCESSORS": "1",
    "LEASE_S": "4",
    "ABANDONED_AFTER_S": "0.1",
    "DRAIN_S": "0.5",
    "IDLE_TIMEOUT_S": "4",
    "VENDOR_RETRIES_MAX": "2",
    "WORKER_MISSING_S": "60",
    "REQUEST_DEADLINE_S": "20",
    "RETRY_DELAY_S": "1.5",
    "RETRY_IN_PLACE_S": "3",
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


def _tiered() -> str:
    """A row for each vendor, and rows whose price is another one today, and at this time of the day."""
    today, in_three_days = [datetime.now(UTC) + timedelta(days=days) for days in (0, 3)]
    changes = f"price_changes = [{{ from = {today.date()}, output = 20 }}, {{ from = 2999-01-01, output = 30 }}]"
    always, never = [
        f'off_peak = {{ factor = 0.5, peak = ["00:00-24:00"], days = "{days}" }}'
        for days in ("Mon-Sun", f"{in_three_days:%a}")
    ]
    rows = [(f"tiered-{provider}", provider, "") for provider in VENDORS]
    rows += [("dated", "openai", changes), ("at-peak", "openai", always), ("off-peak", "openai", never)]
    return "".join(_tiered_row(*row) for row in rows)


def _tiered_row(name: str, provider: str, more: str) -> str:
    api, upstream, limit = VENDORS[provider]
    fields = {"provider": provider, "api": api, "upstream": upstream, "limit_parameter": limit, "more": more}
    return TIERED.format(name=name, above=ABOVE, **fields)


@asynccontextmanager
async def running_overlaid(folder: Path, environment: Mapping[str, str]) -> AsyncIterator[Overlaid]:
    """One front door that has patience, a hasty one, and one worker. `acme-large` and all vendors but OpenAI are another
    simulator's; behind `silent` and `nowhere` is nobody who answers.
    """
    silent = SilentServer()
    async with running_simulator() as acme, await asyncio.start_server(silent.serve, "127.0.0.1", 0) as listening:
        vendors = {
            "acme-large": acme.openai,
            "silent": f"https://127.0.0.1:{listening.sockets[0].getsockname()[1]}/v1",
            "nowhere": f"http://127.0.0.1:{free_port()}/v1",
        }
        overlay = folder / "overlay.toml"
        added = "".join(ADDED.format(name=name, url=url) for name, url in vendors.items())
        overlay.write_text(CHANGED + added + _tiered())
        others = {
            "DEEPSEEK_API_KEY": "simulated",
            "DEEPSEEK_BASE_URL": acme.deepseek,
            "GEMINI_API_KEY": "simulated",
            "GOOGLE_GEMINI_BASE_URL": acme.gemini,
            "AWS_ACCESS_KEY_ID": "simulated",
            "AWS_SECRET_ACCESS_KEY": "simulated",
            "AWS_ENDPOINT_URL_BEDROCK_RUNTIME": acme.bedrock,
        }
        settings = {**environment, **ENVIRONMENT, **others, "CATALOGUE": str(overlay)}
        async with running_cluster(folder, settings, doors=1, workers=1, direct=True) as cluster:
            cluster.start("web-hasty", shared=True, REQUEST_DEADLINE_S=str(HASTY_S), FLEX_DEADLINE_S=str(HASTY_S))
            await cluster.until_log("web-hasty", "front door open")
            yield Overlaid(cluster, silent)
