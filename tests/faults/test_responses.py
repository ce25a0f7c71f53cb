"""Responses in the background, with models of three vendors, while workers and front doors are killed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp

from deploy.local.vendors import for_workers
from deploy.simulator.script import Script
from shared.catalogue.models import load_catalogue
from tests.faults.background import Background, Wanted, flaws
from tests.faults.books import Row
from tests.faults.conftest import Scale
from tests.faults.trial import Trial, trial
from tests.harness.cluster import Cluster
from tests.harness.figures import Figures
from tests.harness.support import eventually

PROOF = "1, 7 responses in the background"
MODELS = ("openai-gpt-4o-mini", "deepseek-flash", "google-gemini-2.5-flash-lite")
QUEUES = "openai:interactive,deepseek:interactive,gemini:interactive"
CANCELLED_EVERY = 5
PASSING = frozenset({"unavailable", "overloaded", "provider_not_configured"})
"""Codes of refusals that clients are told to ask again after: stores and workers are not known yet to a new front door."""
ENDS = {"completed": "succeeded", "failed": "failed", "cancelled": "cancelled"}
"""How a response ends, and its request."""
SETTLED_WITHIN_S = 30.0


async def test_every_response_is_fetched_whole_and_charged_once_whoever_is_killed(
    cluster: Cluster, scale: Scale, seed: str, figures: Figures
) -> None:
    async with _workers_of_three_vendors(cluster) as vendors, trial(cluster, "responses", seed, scale.limit_s) as run:
        everything: list[Background] = []
        async with aiohttp.ClientSession(
            headers={"Authorization": f"Bearer {run.api_key}"}, read_bufsize=2**20
        ) as session:
            for number in range(scale.response_rounds):
                everything += await _round(run, session, vendors, scale.responses, number)
            await run.until_no_hold(SETTLED_WITHIN_S)
            violations = await _violations(run, everything)
        violations += await run.check_books()
    assert not violations, violations
    ends = {status: sum(one.shown["status"] == status for one in everything) for status in ENDS}
    assert ends["completed"] > 0
    assert ends["cancelled"] > 0
    assert sum(one.resumed for one in everything) > 0
    figures.add(PROOF, "responses / front doors and workers killed", f"{len(everything)} / {2 * scale.response_rounds}")
    figures.add(PROOF, "completed / failed on the way / cancelled", " / ".join(map(str, ends.values())))
    figures.add(PROOF, "streams resumed at another front door", sum(one.resumed for one in everything))


async def _round(
    run: Trial, session: aiohttp.ClientSession, vendors: dict[str, str], count: int, number: int
) -> list[Background]:
    """All of them run when a front door and a worker die; some are cancelled before, some at that moment."""
    cluster = run.cluster
    responses = [
        Background(session, _some_door(run), _wanted(run, f"{number}-{place}", place)) for place in range(count)
    ]
    before, meanwhile = responses[:: 2 * CANCELLED_EVERY], responses[CANCELLED_EVERY :: 2 * CANCELLED_EVERY]
    async with asyncio.TaskGroup() as group:
        for one in responses:
            group.create_task(_followed(one))
        for one in responses:
            await cluster.simulator.call_begins(one.wanted.script.key)
        streams = [one for one in responses if one.wanted.stream and not one.wanted.tool]
        await eventually(lambda: all(one.has_begun for one in streams), "the streams have begun")
        await eventually(lambda: all(one.id for one in responses), "every response has its id")
        await asyncio.gather(*(_cancelled(one) for one in before))
        await asyncio.gather(_kill_and_replace(run, vendors), *(one.cancel() for one in meanwhile))
        for one in responses:
            if one not in {*before, *meanwhile}:
                await cluster.simulator.release(one.wanted.script.key)
    await cluster.ready()
    return responses


async def _followed(one: Background) -> None:
    await one.ask()
    await one.until_ended()


async def _cancelled(one: Background) -> None:
    await one.cancel()
    await one.look()
    one.ended_by_its_worker = True


async def _kill_and_replace(run: Trial, vendors: dict[str, Any]) -> None:
    cluster = run.cluster
    door, worker = run.random.choice(cluster.doors), run.random.choice(cluster.workers)
    await asyncio.gather(cluster.kill(door), cluster.kill(worker))
    cluster.start(door)
    cluster.start(worker, **vendors)


def _some_door(run: Trial) -> Callable[[], str]:
    return lambda: run.random.choice(run.cluster.urls)


def _wanted(run: Trial, name: str, place: int) -> Wanted:
    """The vendor keeps the end of each until it is released, which one that is to be cancelled never is."""
    stream, tool = place % 2 == 0, place % 4 >= 2
    tokens = run.random.randint(20, 60)
    script = Script(
        tokens=tokens,
        calls=1 if tool else 0,
        first_ms=0,
        pace_ms=run.random.choice((0, 5)),
        hold=0 if tool else tokens // 2,
        unicode=run.random.random() < 0.3,
        key=f"responses.{run.account_id[-6:]}-{name}",
    )
    return Wanted(model=MODELS[place % len(MODELS)], script=script, stream=stream, tool=tool)


async def _violations(run: Trial, responses: list[Background]) -> list[str]:
    catalogue = load_catalogue()
    rows = {row.id: row for row in await run.books.rows()}
    found = [] if rows.keys() == {one.request_id for one in responses} else [f"{len(rows)} requests are on record"]
    for one in responses:
        await one.look()
        found += flaws(one, await one.read_again(), one.wanted.said(catalogue))
        found += _unlike_the_books(one, rows[one.request_id])
        found += [f"{one.id} was refused with {code}" for code in one.refusals if code not in PASSING]
    return found


def _unlike_the_books(one: Background, row: Row) -> list[str]:
    found = []
    status, usage = one.shown["status"], one.shown["usage"]
    if row.state != ENDS[status]:
        found.append(f"is shown as {status}, and on record as {row.state}")
    if row.captures != (1 if row.charged_nano else 0) or row.captured_nano != row.charged_nano:
        found.append(f"was captured {row.captures} times, {row.captured_nano} in all")
    if bool(row.charged_nano) != bool(usage):
        found.append(f"was charged {row.charged_nano} and shows {usage}")
    if not row.charged_nano and (status == "completed" or one.ended_by_its_worker):
        found.append(f"is {status}, a vendor had it, and it was not charged")
    if status == "failed" and (row.error_code != "provider_error" or not one.wanted.stream or one.wanted.tool):
        found.append(f"failed with {row.error_code}, although nothing of it had been sent")
    return [f"{one.id} ({one.wanted.model}) {flaw}" for flaw in found]


@asynccontextmanager
async def _workers_of_three_vendors(cluster: Cluster) -> AsyncIterator[dict[str, str]]:
    """In place of the cluster's own workers for as long as the block lasts; gives what they are told."""
    vendors = for_workers({}, f"http://127.0.0.1:{cluster.proxies['vendor'].port}") | {"WORKER_QUEUES": QUEUES}
    await _replace_workers(cluster, vendors)
    await cluster.ready()
    try:
        yield vendors
    finally:
        await _replace_workers(cluster, {})


async def _replace_workers(cluster: Cluster, environment: dict[str, Any]) -> None:
    for name in cluster.workers:
        await cluster.kill(name)
        cluster.start(name, **environment)
