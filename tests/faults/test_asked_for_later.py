"""Requests whose callers do not wait survive a Redis that is emptied while they run."""

from __future__ import annotations

import asyncio
from typing import Any

import aiohttp

from deploy.simulator.script import Script
from tests.faults.clients import Question
from tests.faults.conftest import Scale
from tests.faults.trial import Trial, trial
from tests.harness.cluster import Cluster
from tests.harness.figures import Figures
from tests.harness.support import eventually_true

ANSWERED_WITHIN_S = 30.0


async def test_every_request_for_later_is_answered_and_charged_once_although_redis_was_emptied(
    cluster: Cluster, scale: Scale, seed: str, figures: Figures
) -> None:
    async with trial(cluster, "later", seed, scale.limit_s) as run:
        async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {run.api_key}"}) as session:
            questions = {
                await _ask(run, session, number): _question(run, number) for number in range(2 * scale.callers)
            }
            await cluster.valkey.command("FLUSHALL")
            answers = await asyncio.gather(*(_answer(run, session, request_id) for request_id in questions))
        assert [answer["response"] for answer in answers] == [asked.expected for asked in questions.values()]
        rows = {row.id: row for row in await run.books.rows()}
        assert {(row.state, row.captures) for row in rows.values()} == {("succeeded", 1)}
        assert rows.keys() == questions.keys()
        verdict = await run.check_books()
    assert not verdict, verdict
    figures.add("4 Redis emptied", "requests for later, all answered, each charged once", f"{len(answers)}")


def _question(run: Trial, number: int) -> Question:
    return Question(form="json", script=Script(tokens=10, first_ms=500, key=f"{run.account_id}-{number}"))


async def _ask(run: Trial, session: aiohttp.ClientSession, number: int) -> str:
    async with session.post(
        f"{run.random.choice(run.cluster.urls)}/api/endpoint",
        json=_question(run, number).body(),
        headers={"Prefer": "respond-async"},
    ) as response:
        assert response.status == 202
        return str((await response.json())["result"]["id"])


async def _answer(run: Trial, session: aiohttp.ClientSession, request_id: str) -> dict[str, Any]:
    async def ask() -> dict[str, Any] | None:
        async with session.get(f"{run.random.choice(run.cluster.urls)}/api/requests/{request_id}") as response:
            result: dict[str, Any] = (await response.json())["result"]
            return result if result["ended_at"] else None

    return await eventually_true(ask, f"{request_id} is answered", ANSWERED_WITHIN_S)
