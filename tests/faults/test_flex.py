"""A batch at the tier flex while its vendor has no capacity, is slow, serves at a dearer tier, and workers are killed."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from typing import Literal, NamedTuple

from deploy.simulator.answer import answer
from deploy.simulator.calls import Call
from deploy.simulator.script import Script
from shared.money import divide_up, nano_to_usd
from tests.faults.batch_runs import BatchRun, batch_session
from tests.faults.clients import Question
from tests.faults.conftest import Scale
from tests.faults.trial import Trial, trial
from tests.harness.cluster import Cluster
from tests.harness.figures import Figures, quantile

PROOF = "37 flex"
PACED = Script(tokens=20, first_ms=30, pace_ms=5)
SLOW_MS = 3_000
CAPACITY_EVERY = 1_000
"""So often, of the lines in their order, there is no capacity for a moment."""
LINES_WITHOUT_CAPACITY = 20
_SUMS = """
SELECT r.lane, count(*) AS requests, count(*) FILTER (WHERE r.served_tier = 'default') AS dearer,
    sum(r.charged_nano)::bigint AS charged, sum(r.saved_nano)::bigint AS saved,
    COALESCE(sum(l.amount_nano), 0)::bigint AS lost,
    sum(r.vendor_cost_nano)::bigint AS vendor_cost
FROM requests r LEFT JOIN tier_losses l ON l.request_id = r.id WHERE r.batch_id = $1 GROUP BY r.lane
"""
_DEARER = """
SELECT r.id FROM requests r WHERE r.batch_id = $1 AND r.lane = 'flex'
    AND (r.input_price, r.output_price) <> ALL (SELECT * FROM unnest($2::bigint[], $3::bigint[]))
"""


class Sold(NamedTuple):
    """A model as callers and its vendor know it, and its list prices at both tiers in nano-USD for a million tokens of input
    and of output: written down a second time on purpose.
    """

    name: str
    upstream: str
    default: tuple[int, int]
    flex: tuple[int, int] | None


MINI = Sold(
    "openai-gpt-5.4-mini", "gpt-5.4-mini-2026-03-17", (750_000_000, 4_500_000_000), (375_000_000, 2_250_000_000)
)
LARGE = Sold("openai-gpt-5.5", "gpt-5.5-2026-04-23", (5_000_000_000, 30_000_000_000), (2_500_000_000, 15_000_000_000))
PLAIN = Sold("openai-gpt-4o-mini", "gpt-4o-mini-2024-07-18", (150_000_000, 600_000_000), None)
BY_UPSTREAM = {sold.upstream: sold for sold in (MINI, LARGE, PLAIN)}


class Line(Question, frozen=True, kw_only=True):
    """A line of the batch."""

    sold: Sold

    @property
    def pieces(self) -> list[str]:
        return answer(self.sold.upstream, "", self.script)


class MixedRun(BatchRun):
    """Its lines are at both tiers, and for several models."""

    async def _body(self) -> AsyncIterator[bytes]:
        for number, question in enumerate(self.questions):
            assert isinstance(question, Line)
            options = {"max_tokens": 64} | ({"service_tier": "flex"} if question.sold.flex else {})
            line = {"custom_id": f"line-{number}", "model": question.sold.name, "options": options}
            yield json.dumps(line | {"messages": [{"role": "user", "content": question.message}]}).encode() + b"\n"


def _lines(run: Trial, count: int, *, first_ms: int) -> list[Question]:
    """Four of five are at flex. Of those some find no capacity at first, some are slow, some are served at a dearer tier."""
    return [_line(run, number, first_ms) for number in range(count)]


def _line(run: Trial, number: int, first_ms: int) -> Line:
    lot, sold = run.random, (MINI, LARGE, MINI, LARGE, PLAIN)[number % 5]
    served: Literal["", "default"] = "default" if sold.flex and lot.random() < 0.1 else ""
    script = Script(
        tokens=1 + number % 7,
        first_ms=SLOW_MS if lot.random() < 0.01 else first_ms,
        full=lot.randint(1, 2) if sold.flex and number % CAPACITY_EVERY < LINES_WITHOUT_CAPACITY else 0,
        served=served,
        key=f"{run.account_id}-flex-{number:06}",
    )
    return Line(form="json", script=script, sold=sold)


async def test_every_line_is_charged_at_most_the_flex_price_and_the_house_pays_what_its_vendor_bills_more(
    cluster: Cluster, scale: Scale, seed: str, figures: Figures
) -> None:
    async with trial(cluster, "flex", seed, scale.limit_s) as run, batch_session(run) as session:
        idle = await _answer_times(run, scale.flex_latencies)
        batch = MixedRun(run, session, _lines(run, scale.flex_lines, first_ms=300 if scale.long else 20))
        await batch.send()
        await batch.done(0.02)
        beside = await _answer_times(run, scale.flex_latencies)
        kills = await _kill_workers(run, batch, scale.flex_kills)
        assert kills, "the batch was over before the first kill"
        ended = await batch.ended()
        assert (ended["state"], ended["counts"]["completed"]) == ("completed", scale.flex_lines)
        assert not (wrong := await batch.wrong_results()), wrong
        books = await batch.books()
        await run.until_no_hold(30)
        assert not (found := await run.check_books()), found
        calls = await cluster.simulator.calls(f"{run.account_id}-flex-")
        rows = {row["lane"]: row for row in await cluster.postgres.fetch(_SUMS, batch.id)}
        flex_prices = [sold.flex for sold in (MINI, LARGE) if sold.flex]
        dearer_prices = await cluster.postgres.fetch(_DEARER, batch.id, *map(list, zip(*flex_prices, strict=True)))
    flex = rows["flex"]
    assert not dearer_prices, "requests at flex have its price"
    assert books.lines == scale.flex_lines
    assert flex["requests"] == len([one for one in batch.questions if isinstance(one, Line) and one.sold.flex])
    assert flex["dearer"] > 0
    billed = [call for call in calls if call.ending == "completed"]
    lost_with_workers = _cost_of(_doubled(billed))
    charged, lost = sum(row["charged"] for row in rows.values()), flex["lost"]
    assert charged == books.charged_nano
    assert charged + lost + lost_with_workers == _cost_of(billed), "charged + the house's loss is what the vendor bills"
    assert flex["vendor_cost"] == flex["charged"] + lost
    assert ended["saved_usd"] == nano_to_usd(flex["saved"])
    endings = Counter(call.ending for call in calls)
    figures.add(PROOF, "lines, of which at flex / worker kills", f"{books.lines:,}, {flex['requests']:,} / {kills}")
    figures.add(PROOF, "calls: answered, without capacity, cut by a kill", _counts(endings))
    figures.add(PROOF, "served at the dearer tier", flex["dearer"])
    bill = (charged, lost, lost_with_workers, _cost_of(billed))
    figures.add(
        PROOF, "USD: charged + tier losses + lost with workers = vendor's bill", " ".join(map(nano_to_usd, bill))
    )
    figures.add(PROOF, "USD saved by callers", nano_to_usd(flex["saved"]))
    figures.add(PROOF, "lines per second, kills included", books.lines / batch.seconds)
    for share in (0.5, 0.99) if beside else ():
        times = [quantile(measured, share) * 1_000 for measured in (idle, beside)]
        ratio = f"{times[0]:.1f} -> {times[1]:.1f}: × {times[1] / times[0]:.2f}  (n={len(beside)})"
        figures.add(PROOF, f"interactive, idle -> beside, p{share * 100:g}, ms", ratio)


async def _answer_times(run: Trial, count: int) -> list[float]:
    """Seconds of one caller's answers, one after the other."""
    return [(await run.send(run.prepare("json", PACED))).took_s for _ in range(count)]


async def _kill_workers(run: Trial, batch: BatchRun, kills: int) -> int:
    """As the rest of the batch goes on; gives how many were killed."""
    counts = (await batch.view())["counts"]
    begun = (sum(counts.values()) - counts["total"]) / counts["total"]
    for number in range(kills):
        await batch.done(begun + (1 - begun) * (number + 0.5) / (kills + 1))
        if (await batch.view())["state"] != "in_progress":
            return number
        worker = run.random.choice(run.cluster.workers)
        await run.cluster.kill(worker)
        run.cluster.start(worker)
        await asyncio.sleep(0)
    return kills


def _doubled(billed: Iterable[Call]) -> list[Call]:
    """Answers that died with a worker: those of a line that was answered again."""
    last = {call.key: call for call in billed}
    return [call for call in billed if last[call.key] is not call]


def _cost_of(calls: Iterable[Call]) -> int:
    """What the vendor bills, call by call, at the tier that served."""
    total = 0
    for call in calls:
        sold = BY_UPSTREAM[call.model]
        input_price, output_price = sold.flex if call.tier == "flex" and sold.flex else sold.default
        total += divide_up(call.prompt_tokens * input_price + call.output_tokens * output_price, 1_000_000)
    return total


def _counts(endings: Counter[str]) -> str:
    return ", ".join(f"{endings[ending]:,}" for ending in ("completed", "full", "client_gone"))
