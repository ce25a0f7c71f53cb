"""Every alert is fired by a real fault: a Prometheus scrapes a running service by the rules as they are deployed, except that
their waits and windows are a thirtieth. Thresholds are as deployed. Before its fault each alert is quiet.
"""

from __future__ import annotations

import asyncio
import math
import os
import resource
import socket
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager, suppress
from pathlib import Path

import aiohttp
import asyncpg
import pytest

from deploy.cli.upstreams import REASONS
from deploy.dashboard import FILE as DASHBOARD
from shared.ledger.accounts import create_account
from shared.ledger.api_keys import KeyRules, create_key
from shared.money import NanoUsd
from tests.faults.conftest import HURRIED
from tests.harness.caller import MODEL, Caller, Reply, told
from tests.harness.cluster import Cluster, running_cluster
from tests.harness.figures import Figures
from tests.harness.prometheus import Prometheus, found_prometheus, hurried, watching
from tests.harness.proxy import Proxy
from tests.harness.support import eventually_true, free_port, shifted_by

PROOF = "alerts"
REBOOTML = str(Path(sys.executable).with_name("rebootml"))
RULES = DASHBOARD.parents[1] / "alerts.yaml"
TIMES = 30
WITHIN_S = 120.0
LEASE_S = 2
ENVIRONMENT = HURRIED | {
    "LEASE_S": str(LEASE_S),
    "REQUEST_DEADLINE_S": "300",
    "IDLE_TIMEOUT_S": "120",
    "VENDOR_RETRIES_MAX": "0",
    "QUEUE_DEPTH_MAX": "30",
    "CLOCK_LOOK_EVERY_S": "1",
}
BREAKER = {
    "UPSTREAM_FAILED_IN_ROW": "5",
    "UPSTREAM_OPEN_S": "60",
    "UPSTREAM_OPEN_MAX_S": "120",
}
CREDIT = NanoUsd(10_000_000_000_000)
PROCESSES = ("web-1", "web-2", "worker-1", "worker-2", "web-7", "web-8", "worker-7", "worker-8")
FILES_MAX = 120
DEAR, LONG_TEXT = "openai-gpt-6-astra", "word " * 160_000
"""Some 200,000 tokens at 10 USD a million."""
OTHER_ROW = """
[[upstream]]
name = "elsewhere"
provider = "openai"
key_variable = "OPENAI_OTHER_KEY"
base_url = "{url}"
"""


class Stage:
    """The service, its watcher, and a customer. `took_s`: from the fault to the alert."""

    def __init__(self, cluster: Cluster, prometheus: Prometheus, ports: dict[str, int], caller: Caller) -> None:
        self.cluster = cluster
        self.prometheus = prometheus
        self.ports = ports
        self.caller = caller
        self.took_s: dict[str, float] = {}
        self._group: set[asyncio.Task[Reply]] = set()

    def start(self, name: str, **overrides: str) -> None:
        self.cluster.start(name, shared=False, METRICS_PORT=str(self.ports[name]), **overrides)

    def ask(self, text: str, model: str = MODEL) -> asyncio.Task[Reply]:
        """Nobody waits for the answer, which may be an error."""
        task = asyncio.create_task(self.caller.chat(text, model=model))
        self._group.add(task)
        task.add_done_callback(self._group.discard)
        return task

    async def answers(self) -> None:
        """All that was asked has been answered somehow."""
        await asyncio.gather(*self._group, return_exceptions=True)

    async def fires(self, *alerts: str, since: float, **labels: str) -> None:
        """Wait until each of the alerts fires."""
        for alert in alerts:

            async def is_firing(alert: str = alert) -> bool:
                return await self.prometheus.is_firing(alert, **labels)

            await eventually_true(is_firing, f"{alert} fires", WITHIN_S)
            self.took_s[alert] = time.monotonic() - since

    async def quiet(self, *alerts: str) -> None:
        """Wait until none of the alerts fires."""
        for alert in alerts:

            async def is_quiet(alert: str = alert) -> bool:
                return not await self.prometheus.is_firing(alert)

            await eventually_true(is_quiet, f"{alert} is quiet", 200)

    @asynccontextmanager
    async def asking(self, make: Callable[[], str], every_s: float = 0.5) -> AsyncIterator[None]:
        """Ask again and again while the block runs."""

        async def ask() -> None:
            while True:
                self.ask(make())
                await asyncio.sleep(every_s)

        asks = asyncio.create_task(ask())
        try:
            yield
        finally:
            asks.cancel()
            with suppress(asyncio.CancelledError):
                await asks

    async def operate(self, *words: str) -> str:
        """What `rebootml` says."""
        variables = {"DATABASE_URL": self.cluster.postgres.url, "REDIS_URL": self.cluster.valkey.url}
        process = await asyncio.create_subprocess_exec(
            *(REBOOTML, *words),
            env={"PATH": os.defpath} | variables,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        said, _ = await process.communicate()
        assert process.returncode == 0, said.decode()
        return said.decode()


async def processes_apart(stage: Stage, folder: Path) -> None:
    """Four processes that are not as the others: without Redis, with other upstreams, with another clock, full of
    connections. Meanwhile the vendor is slow.
    """
    await stage.quiet("RebootmlWorkerStuck", "RebootmlUpstreamsDiffer", "RebootmlClockOff", "RebootmlOpenFiles")
    cluster, overlay = stage.cluster, folder / "overlay.toml"
    overlay.write_text(OTHER_ROW.format(url=f"http://127.0.0.1:{cluster.proxies['vendor'].port}/v1"))
    own = Proxy(cluster.valkey.socket)
    await own.open()
    stage.start("worker-7", REDIS_URL=f"redis://127.0.0.1:{own.port}/0")
    stage.start("worker-8", CATALOGUE=str(overlay), OPENAI_OTHER_KEY="simulated")
    stage.start("web-7")
    stage.start("web-8", **shifted_by(3, folder / "shift"))
    for name, event in (("worker-7", "worker started"), ("worker-8", "worker started"), ("web-7", "front door open")):
        await cluster.until_log(name, event)
    await asyncio.sleep(LEASE_S)  # worker-7 renews once, and Prometheus sees that it did
    began = time.monotonic()
    own.black_hole(new_too=True)
    with _full_of_connections(stage, "web-7"):
        async with stage.asking(lambda: told(tokens=2, first_ms=31_000), every_s=1):
            await stage.fires("RebootmlClockOff", "RebootmlOpenFiles", since=began)
            await stage.fires("RebootmlUpstreamsDiffer", "RebootmlFirstTokenSlow", since=began)
    await stage.fires("RebootmlWorkerStuck", since=began)
    await cluster.kill("worker-7")
    await own.close()
    await stage.answers()
    for name in ("worker-8", "web-7", "web-8"):
        await cluster.drain(name)


async def worker_stands_still(stage: Stage) -> None:
    """Beyond its lease; the other one takes its jobs."""
    await stage.quiet("RebootmlLeasesLost")
    cluster = stage.cluster
    await cluster.drain("worker-2")
    keys = [f"still-{number}" for number in range(10)]
    for key in keys:
        stage.ask(told(key=key, hold=1))
    for key in keys:
        await cluster.simulator.call_begins(key)
    stage.start("worker-2")
    await cluster.until_log("worker-2", "worker started")
    began = time.monotonic()
    cluster.pause("worker-1")
    for key in keys:
        await cluster.simulator.call_begins(key, 2)
    cluster.resume("worker-1")
    await stage.fires("RebootmlLeasesLost", since=began)
    for key in keys:
        await stage.caller.release(key)
    await stage.answers()


async def vendor_fails(stage: Stage) -> None:
    await stage.quiet("RebootmlServerErrors", "RebootmlVendorErrors")
    began = time.monotonic()
    await stage.cluster.simulator.befall(vendor="openai", fault="down")
    async with stage.asking(lambda: told(tokens=2)):
        await stage.fires("RebootmlServerErrors", "RebootmlVendorErrors", since=began)
    await stage.answers()
    await stage.cluster.simulator.befall(vendor="openai", fault="")


async def vendor_breaks_dear_answers_off(stage: Stage) -> None:
    await stage.quiet("RebootmlLostCalls")
    for _ in range(8):  # so that each worker has lost something before: what a new series begins with is no increase
        await stage.ask(told(tokens=2, fault="early_end", after=1), DEAR)
    await stage.answers()
    await asyncio.sleep(2)
    began = time.monotonic()
    await asyncio.gather(
        *[stage.ask(f"{told(tokens=2, fault='early_end', after=1)} {LONG_TEXT}", DEAR) for _ in range(2)]
    )
    await stage.fires("RebootmlLostCalls", since=began, upstream="openai")


async def key_is_refused(stage: Stage) -> None:
    """With a breaker that opens."""
    await stage.quiet("RebootmlUpstreamOpen")
    fact = "vendor refuses the operator's credentials"
    assert not await stage.prometheus.is_firing("RebootmlFact", alert=fact)
    for name in ("worker-1", "worker-2"):
        await stage.cluster.drain(name)
        stage.start(name, **BREAKER)
    await stage.cluster.ready()
    began = time.monotonic()
    await stage.cluster.simulator.befall(vendor="openai", fault="wrong_key")
    async with stage.asking(lambda: told(tokens=2)):
        await stage.fires("RebootmlFact", since=began, alert=fact)
        await stage.fires("RebootmlUpstreamOpen", since=began, upstream="openai")
    await stage.answers()
    said = await stage.operate("upstream", "list")
    assert REASONS["credentials"] in said, said
    await stage.cluster.simulator.befall(vendor="openai", fault="")
    await stage.operate("upstream", "enable", "openai")

    async def is_answered() -> bool:
        return (await stage.caller.chat(told(tokens=2))).status == 200

    await eventually_true(is_answered, "the upstream is called again")


async def queue_is_full(stage: Stage) -> None:
    """Because an operator has paused the vendor."""
    await stage.quiet("RebootmlOverloaded")
    began = time.monotonic()
    await stage.operate("queue", "pause", "openai")
    async with stage.asking(lambda: told(tokens=2), every_s=0.1):
        await stage.fires("RebootmlOverloaded", since=began)
    await stage.operate("queue", "resume", "openai")
    await stage.answers()


async def workers_stand_still(stage: Stage) -> None:
    await stage.quiet("RebootmlNoWorker", "RebootmlQueueOld")
    for number in range(5):
        stage.ask(told(key=f"alone-{number}", hold=1))
        await stage.cluster.simulator.call_begins(f"alone-{number}")
    began = time.monotonic()
    for name in ("worker-1", "worker-2"):
        stage.cluster.pause(name)
    await stage.fires("RebootmlNoWorker", "RebootmlQueueOld", since=began)
    for name in ("worker-1", "worker-2"):
        stage.cluster.resume(name)
    for number in range(5):
        await stage.caller.release(f"alone-{number}")
    await stage.answers()


async def postgres_is_away(stage: Stage) -> None:
    await stage.quiet("RebootmlUnsettled")
    for number in range(5):
        stage.ask(told(key=f"unsettled-{number}", hold=1))
        await stage.cluster.simulator.call_begins(f"unsettled-{number}")
    began = time.monotonic()
    await stage.cluster.proxies["postgres"].refuse()
    for number in range(5):
        await stage.caller.release(f"unsettled-{number}")
    await stage.fires("RebootmlUnsettled", since=began)
    await stage.cluster.proxies["postgres"].heal()
    await stage.answers()


async def everything_is_gone(stage: Stage) -> None:
    await stage.quiet("RebootmlNotScraped")
    began = time.monotonic()
    for name in (*stage.cluster.doors, *stage.cluster.workers):
        await stage.cluster.kill(name)
    await stage.fires("RebootmlNotScraped", since=began)


FAULTS: tuple[Callable[[Stage], Awaitable[None]], ...] = (
    worker_stands_still,
    vendor_fails,
    vendor_breaks_dear_answers_off,
    key_is_refused,
    queue_is_full,
    workers_stand_still,
    postgres_is_away,
)


@asynccontextmanager
async def staged(folder: Path) -> AsyncIterator[Stage]:
    ports = {name: free_port() for name in PROCESSES}
    async with AsyncExitStack() as stack:
        cluster = await stack.enter_async_context(running_cluster(folder, ENVIRONMENT, doors=0, workers=0))
        session = await stack.enter_async_context(aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)))
        prometheus = await stack.enter_async_context(
            watching(folder, ports, hurried(RULES.read_text(), TIMES), session)
        )
        for name in PROCESSES[:4]:
            cluster.start(name, METRICS_PORT=str(ports[name]))
        await cluster.ready()
        async with asyncpg.create_pool(cluster.postgres.url, min_size=1, max_size=1) as pool:
            account = await create_account(pool, "someone", CREDIT)
            key = await create_key(pool, account.id, KeyRules())
        yield Stage(cluster, prometheus, ports, Caller(session, cluster, account.id, key.key))


@pytest.mark.skipif(found_prometheus() is None, reason="this machine has no Prometheus (Debian's package prometheus)")
async def test_every_alert_is_fired_by_a_real_fault_and_quiet_before(tmp_path: Path, figures: Figures) -> None:
    async with staged(tmp_path / "alerts") as stage:
        async with stage.asking(lambda: told(tokens=2)):
            await asyncio.sleep(12)
            assert await stage.prometheus.firing() == set()
        await stage.answers()
        await processes_apart(stage, tmp_path)
        for fault in FAULTS:
            await fault(stage)
        rules = {rule["alert"] for group in hurried(RULES.read_text(), 1)["groups"] for rule in group["rules"]}
        began = time.monotonic()
        await stage.quiet(*sorted(rules))
        figures.add(PROOF, "all alerts quiet again after the last fault, s", time.monotonic() - began)
        await everything_is_gone(stage)
        for alert, took_s in stage.took_s.items():
            figures.add(PROOF, f"{alert} fires after its fault, s (waits and windows a {TIMES}th)", took_s)
        assert stage.took_s.keys() == rules


@contextmanager
def _full_of_connections(stage: Stage, name: str) -> Iterator[None]:
    """A front door that may open few files has 85 % of them open, because of idle connections."""
    pid, port = stage.cluster.pid(name), int(stage.cluster.url(name).rpartition(":")[2])
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (FILES_MAX, FILES_MAX))
    wanted = math.ceil(FILES_MAX * 0.85) - len(list(Path(f"/proc/{pid}/fd").iterdir()))
    with ExitStack() as stack:
        for _ in range(wanted):
            stack.enter_context(socket.create_connection(("127.0.0.1", port)))
        yield
