"""What operators can see: metrics of every stage on a port of their own; and what nobody may see: keys, prompts, answers."""

from __future__ import annotations

import re
from pathlib import Path

import aiohttp
import pytest
from redis.asyncio import Redis

from tests.harness.caller import Caller, expected, told
from tests.harness.cluster import Cluster
from tests.harness.support import eventually_true, free_port

CANARY = "canary-prompt-5b1f"
WORKERS = 3
"""Of the system that these tests share."""


@pytest.fixture
async def metrics_ports(cluster: Cluster) -> dict[str, int]:
    """A front door and a worker that serve metrics, in place of one of each."""
    ports = {"web-1": free_port(), "worker-1": free_port()}
    for name, port in ports.items():
        await cluster.drain(name)
        cluster.start(name, METRICS_PORT=str(port))
    await cluster.ready()
    return ports


async def metrics(caller: Caller, port: int) -> str:
    """What the listener says; it does not say which versions serve it."""
    async with caller.session.get(f"http://127.0.0.1:{port}/metrics") as response:
        assert (response.status, response.headers["Server"]) == (200, "rebootml")
        return await response.text()


async def test_every_stage_is_measured_and_nothing_secret_is_seen_anywhere(
    caller: Caller, cluster: Cluster, metrics_ports: dict[str, int], logs: Path
) -> None:
    message = f"{CANARY} {told(tokens=30)}"
    for number in range(24):  # enough for both front doors and all workers
        await caller.chat(message, stream=number % 2 == 0)
        await caller.chat(f"{CANARY} {told(status=400)}")
        await caller.request("POST", "/api/endpoint", data=f'{{"model": "{CANARY}'.encode())
    web = await metrics(caller, metrics_ports["web-1"])
    worker = await metrics(caller, metrics_ports["worker-1"])
    for stage in ("authenticate", "reserve", "enqueue", "first_event", "whole"):
        assert f'rebootml_stage_seconds_count{{stage="{stage}"}}' in web
    for stage in ("queued", "first_token", "vendor"):
        assert f'rebootml_stage_seconds_count{{stage="{stage}"}}' in worker
    assert 'rebootml_refusals_total{code="provider_rejected"}' in web
    assert 'rebootml_jobs_ended_total{model="openai-gpt-4o-mini",outcome="stop"}' in worker

    secrets = [CANARY, caller.key.rpartition("_")[2], expected(message)]
    async with Redis.from_url(cluster.valkey.url) as redis:
        names = b"\n".join([name async for name in redis.scan_iter()]).decode()
    written = [path.read_text(errors="replace") for path in logs.glob("*.log")]  # noqa: ASYNC240 - a few small files
    for seen in (web, worker, names, *written):
        assert [secret for secret in secrets if secret in seen] == []


async def test_a_front_door_tells_how_much_waits_and_how_many_slots_that_is_work_for(
    caller: Caller, metrics_ports: dict[str, int]
) -> None:
    async with caller.session.get(f"http://127.0.0.1:{metrics_ports['web-1']}/scale") as response:
        assert response.status == 200
        scale = await response.json()
    assert set(scale) == {"slots_wanted", "queues"}
    assert {"*", "openai", "openai:interactive", "gemini:flex"} < scale["slots_wanted"].keys()
    assert scale["queues"]["openai:batch"].keys() == {"due", "leased", "deferred", "oldest_s"}
    told = ""

    async def sees_all_workers() -> bool:
        nonlocal told
        told = await metrics(caller, metrics_ports["web-1"])
        workers = re.search(r'rebootml_workers{queue="openai:interactive"} (\d+)', told)
        return workers is not None and int(workers[1]) >= WORKERS

    await eventually_true(sees_all_workers, "the front door sees all workers")
    for line in (
        'rebootml_slots_wanted{deployment="openai:interactive"}',
        'rebootml_queue_jobs{queue="openai:batch",state="due"}',
        'rebootml_queue_oldest_seconds{queue="openai:interactive"}',
        'rebootml_slots{queue="openai:interactive",state="free"} ',
    ):
        assert line in told


async def test_broken_http_shows_no_key_in_any_log(caller: Caller, logs: Path) -> None:
    """Parsers like to show what they could not read."""
    for header in (
        f"Authorization: Bearer {caller.key}\x00",
        f"Authorization: Bearer {caller.key}\r\nBad Header: \xff",
    ):
        await caller.raw(f"POST /api/endpoint HTTP/1.1\r\nHost: x\r\n{header}\r\n\r\n".encode("latin-1"))
    await caller.raw(
        b"POST /api/endpoint HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nTransfer-Encoding: chunked\r\n\r\n%s\r\n"
        % (caller.key.encode(), CANARY.encode())
    )
    written = [path.read_text(errors="replace") for path in logs.glob("*.log")]  # noqa: ASYNC240 - a few small files
    assert not [text for text in written if caller.key in text or CANARY in text]


async def test_metrics_have_an_address_of_their_own(caller: Caller, cluster: Cluster) -> None:
    port = free_port()
    await cluster.drain("worker-2")
    cluster.start("worker-2", METRICS_PORT=str(port), METRICS_HOST="127.0.0.2")
    await cluster.ready()
    async with caller.session.get(f"http://127.0.0.2:{port}/metrics") as response:
        assert response.status == 200
    with pytest.raises(aiohttp.ClientConnectionError):
        await metrics(caller, port)


async def test_metrics_are_not_on_the_public_port(caller: Caller) -> None:
    assert (await caller.request("GET", "/metrics")).status == 404
