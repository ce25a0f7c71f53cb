"""A batch of a trial: sent, watched and read over HTTP, and what the books say of its lines."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp
import asyncpg

from deploy.simulator.script import Script
from tests.faults.clients import MODEL, Question
from tests.faults.trial import Trial

LOOK_S = 0.2
ENDED = {"completed", "failed", "expired", "cancelled"}
_LINES = """
SELECT i.number, i.state, count(r.id) AS requests, count(r.id) FILTER (WHERE r.state = 'succeeded') AS succeeded,
    sum(r.charged_nano)::bigint AS charged
FROM batch_items i LEFT JOIN requests r ON r.batch_id = i.batch_id AND r.batch_number = i.number
WHERE i.batch_id = $1 GROUP BY i.number, i.state
"""
_PENDING = "SELECT count(*) AS n FROM requests WHERE account_id = $1 AND hold_state = 'held'"


class Books(NamedTuple):
    """Of one batch: how many lines became items, and what they were charged in nano-USD."""

    lines: int
    charged_nano: int


class BatchRun:
    """`lines` questions, each with a key of its own; `seconds` from the upload's answer to the end."""

    def __init__(self, run: Trial, session: aiohttp.ClientSession, questions: list[Question]) -> None:
        self._run = run
        self._session = session
        self.questions = questions
        self.id = ""
        self.began_at = 0.0
        self.seconds = 0.0

    async def send(self) -> None:
        """One upload, streamed line by line."""
        url = f"{self._run.random.choice(self._run.cluster.urls)}/api/batches"
        headers = {"Content-Type": "application/x-ndjson"}
        async with self._session.post(url, data=self._body(), headers=headers) as response:
            document = await response.json()
            assert response.status == 201, document
        self.began_at = time.monotonic()
        self.id = document["result"]["id"]

    async def _body(self) -> AsyncIterator[bytes]:
        for number, question in enumerate(self.questions):
            body = question.body()
            line = {"custom_id": f"line-{number}", "model": MODEL, "messages": body["messages"]}
            yield json.dumps(line | {"options": {"max_tokens": 64}}).encode() + b"\n"

    async def view(self) -> dict[str, Any]:
        """Ask any front door, again while none answers."""
        while True:
            with contextlib.suppress(aiohttp.ClientError):
                url = f"{self._run.random.choice(self._run.cluster.urls)}/api/batches/{self.id}"
                async with self._session.get(url) as response:
                    if response.status == 200:
                        return dict((await response.json())["result"])
            await asyncio.sleep(LOOK_S)

    async def done(self, share: float) -> None:
        """Wait until so much of it has ended."""
        while True:
            counts = (await self.view())["counts"]
            if sum(counts.values()) - counts["total"] >= share * counts["total"]:
                return
            await asyncio.sleep(LOOK_S)

    async def ended(self) -> dict[str, Any]:
        """Wait for its end."""
        while True:
            batch = await self.view()
            if batch["state"] in ENDED:
                self.seconds = time.monotonic() - self.began_at
                return batch
            await asyncio.sleep(LOOK_S)

    async def wrong_results(self, excuse: str | None = None) -> list[str]:
        """What is not as it should be: every line once, in order, with the whole answer; `excuse` is an error that a line may
        have instead.
        """
        found, number = [], 0
        async for result in self._results():
            if result["custom_id"] != f"line-{number}":
                found.append(f"line {number} is {result['custom_id']}")
            elif not _is_as_it_should_be(result, self.questions[number].expected, excuse):
                found.append(f"line {number} was answered {str(result)[:300]}")
            number += 1
        if number != len(self.questions):
            found.append(f"{number} lines of {len(self.questions)}")
        return found[:10]

    async def _results(self) -> AsyncIterator[dict[str, Any]]:
        url = f"{self._run.cluster.urls[0]}/api/batches/{self.id}/results"
        async with self._session.get(url) as response:
            assert response.status == 200
            async for line in response.content:
                yield json.loads(line)

    async def cancel(self) -> None:
        """Its owner does not want it any more."""
        async with self._session.delete(f"{self._run.cluster.urls[0]}/api/batches/{self.id}") as response:
            assert response.status == 200

    async def expire(self) -> None:
        """Its time is over."""
        await self._run.cluster.postgres.fetch("UPDATE batches SET expires_at = now() WHERE id = $1", self.id)

    async def books(self, excuse: str | None = None) -> Books:
        """Fails unless every line that was begun is one item with one request that succeeded and was charged, or, with an
        `excuse`, has that for its state, with one request that did not succeed.
        """
        rows = await self._run.cluster.postgres.fetch(_LINES, self.id)
        wrong = [dict(row) for row in rows if not _is_booked(row, excuse)]
        assert not wrong, wrong[:5]
        return Books(len(rows), sum(row["charged"] for row in rows))


def _is_as_it_should_be(result: dict[str, Any], expected: str, excuse: str | None) -> bool:
    if result["status"] == 1:
        answered: str = result["result"]["response"]
        return answered == expected
    refused: str = result["error"]["code"]
    return refused == excuse


def _is_booked(row: asyncpg.Record, excuse: str | None) -> bool:
    if row["state"] == "completed":
        return bool(row["succeeded"] == 1 and row["charged"] > 0)
    return excuse is not None and (row["state"], row["requests"], row["succeeded"]) == (excuse, 1, 0)


@asynccontextmanager
async def batch_session(run: Trial) -> AsyncIterator[aiohttp.ClientSession]:
    """For the batches of a trial."""
    timeout = aiohttp.ClientTimeout(total=None, sock_read=60)
    async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {run.api_key}"}, timeout=timeout) as session:
        yield session


def questions(run: Trial, count: int, name: str, script: Script) -> list[Question]:
    """So many, which differ in their keys and lengths."""
    prefix = f"{run.account_id}-{name}"
    return [
        Question(form="json", script=Script(tokens=1 + n % 7, first_ms=script.first_ms, key=f"{prefix}-{n:06}"))
        for n in range(count)
    ]


class Memory:
    """Resident memory of our processes in MiB, measured now and then by their names."""

    def __init__(self, run: Trial) -> None:
        self._run = run
        self.seen: list[dict[str, float]] = []

    def measure(self) -> None:
        """Take what each has now."""
        cluster = self._run.cluster
        now = {}
        for name in (*cluster.doors, *cluster.workers):
            with contextlib.suppress(OSError, KeyError):
                now[name] = _resident_mib(cluster.pid(name))
        self.seen.append(now)

    def growth(self, kind: str) -> tuple[float, float]:
        """The greatest of the first half and of the second."""
        half = len(self.seen) // 2
        parts = (self.seen[:half], self.seen[half:])
        first, second = (
            max((mib for now in part for name, mib in now.items() if name.startswith(kind)), default=0)
            for part in parts
        )
        return first, second


def _resident_mib(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    line = next(line for line in status.splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) / 1024
