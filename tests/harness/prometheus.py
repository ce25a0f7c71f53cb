"""A Prometheus of one's own: it scrapes processes every second, by rules whose waits and windows are a fraction of theirs."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp
import yaml

from deploy.local.child import Child, Program
from tests.harness.running import PROJECT
from tests.harness.support import eventually_true, free_port

UNPACKED = PROJECT / ".venv-deploy/prometheus/usr/bin/prometheus"
"""Where `make check-deploy` unpacks Debian's package; one on the PATH goes before it."""
SECONDS = {"s": 1, "m": 60, "h": 3_600}
DURATION = re.compile(r"(\[|offset )(\d+)([smh])")
STOP_S = 10.0


class Alert(NamedTuple):
    """One that is firing."""

    name: str
    labels: frozenset[tuple[str, str]]


class Prometheus:
    def __init__(self, session: aiohttp.ClientSession, port: int) -> None:
        self._session = session
        self._url = f"http://127.0.0.1:{port}/api/v1"

    async def firing(self) -> set[Alert]:
        found = (await self._asked("alerts"))["alerts"]
        return {
            Alert(one["labels"]["alertname"], frozenset(one["labels"].items()))
            for one in found
            if one["state"] == "firing"
        }

    async def is_firing(self, name: str, **labels: str) -> bool:
        return any(one.name == name and labels.items() <= set(one.labels) for one in await self.firing())

    async def value(self, expression: str) -> float:
        """The first one; 0 when there is none."""
        found = (await self._asked("query", query=expression))["result"]
        return float(found[0]["value"][1]) if found else 0.0

    async def is_there(self) -> bool:
        try:
            async with self._session.get(self._url.replace("/api/v1", "/-/ready")) as response:
                return response.status == 200
        except aiohttp.ClientError:
            return False

    async def _asked(self, what: str, **query: str) -> Any:
        async with self._session.get(f"{self._url}/{what}", params=query) as response:
            document = await response.json()
            assert document["status"] == "success", document
            return document["data"]


def found_prometheus() -> str | None:
    """The program, where this machine has it."""
    return shutil.which("prometheus") or (str(UNPACKED) if UNPACKED.exists() else None)


def hurried(rules: str, times: int) -> dict[str, Any]:
    """The same rules, looked at every second: what they wait for and look back at is so many times shorter."""
    document: dict[str, Any] = yaml.safe_load(rules)
    for group in document["groups"]:
        group["interval"] = "1s"
        for rule in group["rules"]:
            rule["expr"] = DURATION.sub(lambda one: one[1] + _shorter(one[2] + one[3], times), rule["expr"])
            if "for" in rule:
                rule["for"] = _shorter(rule["for"], times)
    return document


def _shorter(duration: str, times: int) -> str:
    return f"{max(1, int(duration[:-1]) * SECONDS[duration[-1]] // times)}s"


@asynccontextmanager
async def watching(
    folder: Path, targets: Mapping[str, int], rules: dict[str, Any], session: aiohttp.ClientSession
) -> AsyncIterator[Prometheus]:
    """For as long as the block lasts; `targets` are ports of 127.0.0.1 by the instance that stands there."""
    program = found_prometheus()
    assert program, "no Prometheus: `make .venv-deploy/.installed` fetches it on Debian"
    (folder / "rules.yaml").write_text(yaml.safe_dump(rules))
    scraped = [
        {"targets": [f"127.0.0.1:{port}"], "labels": {"instance": name, "job": "rebootml"}}
        for name, port in targets.items()
    ]
    config = {
        "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
        "rule_files": ["rules.yaml"],
        "scrape_configs": [{"job_name": "rebootml", "static_configs": scraped}],
    }
    (folder / "prometheus.yaml").write_text(yaml.safe_dump(config))
    port = free_port()
    words = (
        f"--config.file={folder / 'prometheus.yaml'}",
        f"--storage.tsdb.path={folder / 'series'}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--log.level=warn",
    )
    child = Child(
        Program(
            name="prometheus",
            command=(program, *words),
            environment={"PATH": os.defpath},
            log=folder / "prometheus.log",
        )
    )
    try:
        prometheus = Prometheus(session, port)
        await eventually_true(prometheus.is_there, "Prometheus is ready")
        yield prometheus
    finally:
        await child.stop(STOP_S)
