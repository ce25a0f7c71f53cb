"""Responses in the background while a store is away, or their front door dies before they are in the queue."""

from __future__ import annotations

from typing import Any

import aiohttp
import pytest

from deploy.simulator.script import Script
from tests.faults.background import PATH, Background, Wanted
from tests.faults.conftest import Scale
from tests.faults.trial import Trial, trial
from tests.harness.cluster import Cluster
from tests.harness.support import eventually_true

MODEL = "openai-gpt-4o-mini"
ROUTES = [
    "GET /v1/responses/{}",
    "GET /v1/responses/{}?stream=true&starting_after=1",
    "GET /v1/responses/{}/input_items",
    "POST /v1/responses/{}/cancel",
    "DELETE /v1/responses/{}",
]
_STORED_BYTES = "SELECT bytes FROM response_room WHERE account_id = $1 AND bytes > 0"


async def test_one_that_was_never_enqueued_is_enqueued_by_its_repeat_and_charged_once(
    cluster: Cluster, scale: Scale, seed: str
) -> None:
    """Its front door died in between: what it had enqueued is taken away before a worker sees it."""
    async with trial(cluster, "unqueued", seed, scale.limit_s) as run, _session(run) as session:
        door, other = cluster.doors
        one = Background(session, lambda: cluster.url(door), _wanted(run))
        for worker in cluster.workers:
            cluster.pause(worker)
        await one.ask()
        await cluster.kill(door)
        await cluster.valkey.command("FLUSHALL")
        for worker in cluster.workers:
            cluster.resume(worker)
        cluster.start(door)
        again = Background(session, lambda: cluster.url(other), one.wanted)
        await again.ask()
        assert again.id == one.id
        await again.look()
        assert (again.shown["status"], again.shown["usage"]["output_tokens"]) == ("completed", one.wanted.script.tokens)
        await run.until_no_hold(scale.limit_s)
        (row,) = await run.books.rows()
        assert (row.id, row.state, row.captures) == (one.request_id, "succeeded", 1)
        assert not await run.check_books()


async def test_while_postgres_is_away_clients_are_told_to_come_back(cluster: Cluster, scale: Scale, seed: str) -> None:
    async with trial(cluster, "no-postgres", seed, scale.limit_s) as run, _session(run) as session:
        one = Background(session, lambda: cluster.urls[0], _wanted(run))
        await one.ask()
        await one.look()
        await run.until_no_hold(scale.limit_s)
        await one.look()
        before = one.shown
        await cluster.proxies["postgres"].refuse()
        for route in ROUTES:
            method, path = route.split()
            async with session.request(method, cluster.urls[0] + path.format(one.id)) as reply:
                _assert_come_back(reply, await reply.json())
        await cluster.proxies["postgres"].heal()
        await one.look()
        assert one.shown == before
        assert not await run.check_books()


@pytest.mark.parametrize("stream", [False, True])
async def test_while_redis_is_away_nothing_is_begun_kept_or_charged(
    cluster: Cluster,
    scale: Scale,
    seed: str,
    stream: bool,  # noqa: FBT001
) -> None:
    async with trial(cluster, "no-redis", seed, scale.limit_s) as run, _session(run) as session:
        wanted = _wanted(run, stream=stream)
        await cluster.proxies["redis"].refuse()
        async with session.post(cluster.urls[0] + PATH, json=wanted.body()) as reply:
            _assert_come_back(reply, await reply.json())
            response_id = reply.headers["x-request-id"].replace("req_", "resp_")
        await cluster.proxies["redis"].heal()
        await run.until_no_hold(scale.limit_s)
        await eventually_true(lambda: _nothing_is_stored(run), "nothing of it is stored")
        async with session.get(f"{cluster.urls[0]}{PATH}/{response_id}") as reply:
            assert reply.status == 404
        assert {(row.state, row.charged_nano) for row in await run.books.rows()} <= {("failed", 0)}
        assert not await cluster.simulator.calls(wanted.script.key)
        assert not await run.check_books()


def _assert_come_back(reply: aiohttp.ClientResponse, document: Any) -> None:
    error = document["error"]
    assert (reply.status, error["code"]) == (503, "unavailable"), error
    assert error.keys() >= {"message", "type", "param", "code"}
    assert int(reply.headers["Retry-After"]) > 0


async def _nothing_is_stored(run: Trial) -> bool:
    return not await run.cluster.postgres.fetch(_STORED_BYTES, run.account_id)


def _wanted(run: Trial, *, stream: bool = False) -> Wanted:
    script = Script(tokens=10, first_ms=0, pace_ms=0, key=f"kept.{run.account_id[-6:]}-{stream:d}")
    return Wanted(model=MODEL, script=script, stream=stream, tool=False)


def _session(run: Trial) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(headers={"Authorization": f"Bearer {run.api_key}"})
