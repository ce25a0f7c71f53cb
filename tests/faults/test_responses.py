"""Responses in the background, with models of four vendors, while workers and front doors are killed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import chain
from typing import Any

import aiohttp
import pytest

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
MODELS: dict[str | None, tuple[str, ...]] = {
    None: ("openai-gpt-4o-mini", "deepseek-flash", "google-gemini-2.5-flash-lite"),
    "high": ("openai-gpt-6-luna", "deepseek-flash", "google-gemini-3.8-flash", "anthropic-claude-opus-5-5"),
}
"""By the effort that is asked for: those that think are asked for all that they think. The first one does so by OpenAI's
Responses API, the last one's thoughts are bound to all that came before them.
"""
THOUGHTS = 12
QUEUES = "openai:interactive,deepseek:interactive,gemini:interactive,bedrock:interactive"
CANCELLED_EVERY = 5
PASSING = frozenset({"unavailable", "overloaded", "provider_not_configured"})
"""Codes of refusals that clients are told to ask again after: stores and workers are not known yet to a new front door."""
ENDS = {"completed": "succeeded", "failed": "failed", "cancelled": "cancelled"}
"""How a response ends, and its request."""
SETTLED_WITHIN_S = 30.0


@pytest.mark.parametrize("effort", MODELS, ids=["plain", "thoughts"])
async def test_every_response_is_fetched_whole_and_charged_once_whoever_is_killed(
    cluster: Cluster, scale: Scale, seed: str, figures: Figures, effort: str | None
) -> None:
    async with _workers_of_four_vendors(cluster) as vendors, trial(cluster, "responses", seed, scale.limit_s) as run:
        everything: list[Background] = []
        async with aiohttp.ClientSession(
            headers={"Authorization": f"Bearer {run.api_key}"}, read_bufsize=2**20
        ) as session:
            for number in range(scale.response_rounds):
                everything += await _round(run, session, vendors, scale.responses, number, effort)
            await run.until_no_hold(SETTLED_WITHIN_S)
            violations = await _violations(run, everything)
            if effort:
                whole = [one for one in everything if one.shown["status"] == "completed"]
                violations += chain.from_iterable(await asyncio.gather(*(one.goes_on() for one in whole)))
                await run.until_no_hold(SETTLED_WITHIN_S)
        violations += await run.check_books()
    assert not violations, violations
    ends = {status: sum(one.shown["status"] == status for one in everything) for status in ENDS}
    assert ends["completed"] > 0
    assert ends["cancelled"] > 0
    assert not scale.long or sum(one.resumed for one in everything) > 0  # a few may all have ended before
    proof = f"{PROOF}, with thoughts" if effort else PROOF
    figures.add(proof, "responses / front doors and workers killed", f"{len(everything)} / {2 * scale.response_rounds}")
    figures.add(proof, "completed / failed on the way / cancelled", " / ".join(map(str, ends.values())))
    figures.add(proof, "streams resumed at another front door", sum(one.resumed for one in everything))


async def _round(
    run: Trial, session: aiohttp.ClientSession, vendors: dict[str, str], count: int, number: int, effort: str | None
) -> list[Background]:
    """All of them run when a front door and a worker die; some are cancelled before, some at that moment."""
    cluster = run.cluster
    responses = [
        Background(session, _some_door(run), _wanted(run, f"{number}-{place}", place, effort)) for place in range(count)
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
        await asyncio.gather(*(_cancelled(cluster, one) for one in before))
        await asyncio.gather(_kill_and_replace(run, vendors), *(one.cancel() for one in meanwhile))
        for one in responses:
            if one not in {*before, *meanwhile} or _runs_to_its_end(one):
                await cluster.simulator.release(one.wanted.script.key)
    await cluster.ready()
    return responses


async def _followed(one: Background) -> None:
    await one.ask()
    await one.until_ended()


async def _cancelled(cluster: Cluster, one: Background) -> None:
    await one.cancel()
    if _runs_to_its_end(one):
        await cluster.simulator.release(one.wanted.script.key)
    await one.look()
    one.ended_by_its_worker = True


def _runs_to_its_end(one: Background) -> bool:
    """Whether a vendor that bills all of what is thought is heard to the end, although nobody wants it any more."""
    return one.wanted.effort is not None and load_catalogue().find(one.wanted.model).bills_to_the_end


async def _kill_and_replace(run: Trial, vendors: dict[str, Any]) -> None:
    cluster = run.cluster
    door, worker = run.random.choice(cluster.doors), run.random.choice(cluster.workers)
    await asyncio.gather(cluster.kill(door), cluster.kill(worker))
    cluster.start(door)
    cluster.start(worker, **vendors)


def _some_door(run: Trial) -> Callable[[], str]:
    return lambda: run.random.choice(run.cluster.urls)


def _wanted(run: Trial, name: str, place: int, effort: str | None) -> Wanted:
    """The vendor keeps the end of each until it is released, which one that is to be cancelled never is."""
    stream, tool = place % 2 == 0, place % 4 >= 2
    models = MODELS[effort]
    tokens = run.random.randint(20, 60)
    script = Script(
        tokens=tokens,
        calls=1 if tool else 0,
        first_ms=0,
        pace_ms=run.random.choice((0, 5)),
        hold=0 if tool else tokens // 2,
        unicode=run.random.random() < 0.3,
        reasoning=THOUGHTS if effort else 0,
        key=f"responses.{run.account_id[-6:]}-{name}",
    )
    model = models[(place + place // 4) % len(models)]
    return Wanted(model=model, script=script, stream=stream, tool=tool, effort=effort)


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
    begins = one.wanted.effort or not one.wanted.tool
    if status == "failed" and (row.error_code != "provider_error" or not one.wanted.stream or not begins):
        found.append(f"failed with {row.error_code}, although nothing of it had been sent")
    return [f"{one.id} ({one.wanted.model}) {flaw}" for flaw in found]


@asynccontextmanager
async def _workers_of_four_vendors(cluster: Cluster) -> AsyncIterator[dict[str, str]]:
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
