"""The table of `/docs/billing`, line by line: what becomes of a request, and what its account has paid afterwards."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import NamedTuple

import asyncpg
import pytest

from api.manual.pages import PAGES
from shared.catalogue.models import load_catalogue
from shared.chat import Chat, Message
from shared.input_tokens import input_bound
from shared.ledger.api_keys import KeyRules, create_key
from shared.money import Usage
from tests.e2e.billing_world import (
    LATER,
    Paid,
    Worker,
    World,
    a_key,
    estimated,
    price_of,
    reported,
    said,
)
from tests.e2e.conftest import customers
from tests.e2e.overlaid import Overlaid
from tests.e2e.test_batches import line, sent, until
from tests.harness.caller import MODEL, Caller, told
from tests.harness.cluster import Cluster
from tests.harness.support import eventually_true

Row = Callable[[World], Awaitable[Paid]]
BILLS_TO_THE_END, REALTIME = "openai-o3-mini", "openai-gpt-4o-rt-preview"
THROTTLED = "openai-gpt-5.6-luna"
"""No other test asks for this model, which still rests when its test has ended."""
FLEX_MODEL = "openai-gpt-5.4-mini"
NEVER_BUSY = "openai-gpt-4o"
"""Batches do not wait for a vendor that no other line is refused by."""


@pytest.fixture(scope="module")
def cluster(overlaid: Overlaid) -> Cluster:
    return overlaid.cluster


@pytest.fixture(scope="module")
async def books(cluster: Cluster) -> AsyncIterator[asyncpg.Pool]:
    async with asyncpg.create_pool(cluster.postgres.url, min_size=1, max_size=4) as pool:
        yield pool


async def succeeds(world: World) -> Paid:
    message = told(tokens=9)
    assert (await world.caller.chat(message)).status == 200
    return Paid("succeeded", reported(message, 9))


async def succeeds_without_counts(world: World) -> Paid:
    cost = 0
    for usage in ("missing", "zero", "negative", "huge"):
        message = told(tokens=9, usage=usage)
        assert (await world.caller.chat(message)).status == 200
        cost += estimated(message, said(message))
    return Paid("succeeded", cost)


async def is_refused_here(world: World) -> Paid:
    assert (await world.caller.chat(told(), max_tokens=0)).status == 400
    assert (await world.caller.chat(told(), model="none")).status == 404
    return Paid(None, 0)


async def waits_until_its_deadline(world: World) -> Paid:
    query = "SELECT deadline_at < now() FROM requests WHERE id = $1"
    async with world.worker.dead():
        request_id = await world.later(told(), caller=world.hasty)
        await eventually_true(lambda: world.books.fetchval(query, request_id), "the deadline has passed")
    return Paid("failed", 0)


async def finds_no_capacity(world: World) -> Paid:
    message = told(full=1_000, key=a_key())
    reply = await world.hasty.chat(message, model=FLEX_MODEL, service_tier="flex", max_tokens=20)
    assert (reply.status, reply.error["code"]) == (504, "expired")
    return Paid("failed", 0)


async def is_served_at_a_dearer_tier(world: World) -> Paid:
    message, cost = told(tokens=9, served="default"), 0
    for stream in (False, True):
        reply = await world.caller.chat(message, model=FLEX_MODEL, service_tier="flex", stream=stream, max_tokens=20)
        assert reply.status == 200
        cost += reported(message, 9, FLEX_MODEL, "flex")
    return Paid("succeeded", cost)


async def is_refused_by_the_vendor(world: World) -> Paid:
    for stream in (False, True):
        assert (await world.caller.chat(told(status=400), stream=stream)).status == 502
    return Paid("failed", 0)


async def is_refused_until_no_try_is_left(world: World) -> Paid:
    replies = await asyncio.gather(*(world.caller.chat(told(status=status)) for status in (429, 500, 503)))
    assert [reply.status for reply in replies] == [503, 502, 503]
    return Paid("failed", 0)


async def cannot_be_reached(world: World) -> Paid:
    assert (await world.caller.chat(told(), model="nowhere")).status == 502
    return Paid("failed", 0)


async def is_not_answered_in_time(world: World) -> Paid:
    silence = told(fault="silence")
    replies = await asyncio.gather(world.caller.chat(silence, stream=True), world.hasty.chat(silence))
    assert [reply.status for reply in replies] == [504, 504]
    return Paid("failed", 0)


async def breaks_off_before_output(world: World) -> Paid:
    for fault in ("cut", "fin", "early_end", "garbage", "empty"):
        assert (await world.caller.chat(told(fault=fault), stream=True)).status == 502
    return Paid("failed", 0)


async def breaks_off_after_output(world: World) -> Paid:
    cost = 0
    for fault in ("cut", "silence"):
        message = told(tokens=60, size=1, fault=fault, after=40)
        reply = await world.caller.chat(message, stream=True)
        assert reply.body.partition(b"\x1e")[0].decode() == said(message, 40)
        cost += estimated(message, said(message, 40), pieces=40)
    return Paid("failed", cost)


async def json_breaks_off(world: World) -> Paid:
    assert (await world.caller.chat(told(tokens=20, fault="cut"))).status == 502
    reply = await world.caller.chat(told(tokens=20, fault="cut", after=9), model=REALTIME, max_tokens=200)
    assert (reply.status, reply.error["code"]) == (502, "provider_error")
    assert "charged_usd" not in reply.error
    return Paid("failed", 0)


async def json_is_too_long(world: World) -> Paid:
    key = a_key()
    for script in ({"size": 200_000}, {"fault": "endless"}):
        reply = await world.caller.chat(told(tokens=6, key=key, **script), max_tokens=6)
        assert (reply.status, reply.error["code"]) == (502, "provider_error")
        assert "charged_usd" not in reply.error
    assert len(await world.cluster.simulator.calls(key)) == 2, "it is not asked for again"
    return Paid("failed", 0)


async def cancel_in_the_queue(world: World) -> Paid:
    with world.worker.asleep():
        await world.cancel(await world.later(told()))
    return Paid("cancelled", 0)


async def cancel_while_connecting(world: World) -> Paid:
    request_id = await world.later(told(), model="silent")
    async with asyncio.timeout(20):
        await world.silent.asked.wait()
    await world.cancel(request_id)
    return Paid("cancelled", 0)


async def cancel_between_two_calls(world: World) -> Paid:
    for status, stream in ((429, False), (500, False), (500, True), (503, True)):
        key = a_key()
        request_id = await world.later(told(status=status, times=2, hold=0, key=key), stream=stream)
        async with world.between_two_calls(key):
            await world.cancel(request_id)
    return Paid("cancelled", 0)


async def leave_between_two_calls(world: World) -> Paid:
    for status, stream in ((429, False), (500, True), (503, True)):
        key = a_key()
        message = told(status=status, times=2, hold=0, key=key)
        asking = asyncio.create_task(world.caller.chat(message, stream=stream))
        async with world.between_two_calls(key):
            asking.cancel()
            await asyncio.wait([asking])
            await eventually_true(world.given_up, "the front door has given it up")
    return Paid("cancelled", 0)


async def cancel_or_leave_a_deferred_one(world: World) -> Paid:
    for leaves in (False, True):
        message = told(status=429, retry_after=4)
        headers = {} if leaves else LATER
        asking = asyncio.create_task(world.caller.chat(message, THROTTLED, stream=True, headers=headers))
        request_id, due_ms = await eventually_true(world.deferred, "it is back in the queue")
        if leaves:
            asking.cancel()
        else:
            await world.cancel(request_id)
        await asyncio.wait([asking])
        assert (await world.paid()).state == "cancelled"
        ended_at = await world.books.fetchval("SELECT ended_at FROM requests WHERE id = $1", request_id)
        assert ended_at.timestamp() < due_ms / 1000, "it does not wait until its vendor wants to be asked again"
    return Paid("cancelled", 0)


async def cancel_before_output(world: World) -> Paid:
    cost = 0
    for stream in (False, True):
        key = a_key()
        message = told(hold=0, key=key)
        request_id = await world.later(message, stream=stream)
        await world.cluster.simulator.call_begins(key)
        await world.cancel(request_id)
        cost += estimated(message)
    return Paid("cancelled", cost)


async def leave_before_output(world: World) -> Paid:
    cost = 0
    for stream in (False, True):
        key = a_key()
        message = told(hold=0, key=key)
        asking = asyncio.create_task(world.caller.chat(message, stream=stream))
        await world.cluster.simulator.call_begins(key)
        asking.cancel()
        await world.caller.settled(world.books)
        cost += estimated(message)
    return Paid("cancelled", cost)


async def cancel_after_output(world: World) -> Paid:
    message = told(tokens=60, size=1, hold=40, key=a_key())
    async with world.reading(message, said(message, 40)) as response:
        await world.cancel(response.headers["x-request-id"])
        await world.caller.settled(world.books)
    return Paid("cancelled", estimated(message, said(message, 40), pieces=40))


async def leave_after_output(world: World) -> Paid:
    message = told(tokens=60, size=30, hold=40, key=a_key())
    async with world.reading(message, said(message, 40)):
        pass
    return Paid("cancelled", estimated(message, said(message, 40)))


async def cancel_what_is_billed_to_the_end(world: World) -> Paid:
    key = a_key()
    message = told(tokens=9, reasoning=30, hold=0, key=key)
    request_id = await world.later(message, model=BILLS_TO_THE_END)
    await world.cluster.simulator.call_begins(key)
    await world.cancel(request_id)
    await world.caller.release(key)
    return Paid("succeeded", reported(message, 39, BILLS_TO_THE_END))


async def leave_what_is_billed_to_the_end(world: World) -> Paid:
    key = a_key()
    message = told(tokens=9, reasoning=30, hold=0, key=key)
    asking = asyncio.create_task(world.caller.chat(message, model=BILLS_TO_THE_END, stream=True))
    await world.cluster.simulator.call_begins(key)
    asking.cancel()
    await eventually_true(world.given_up, "the front door has given it up")
    await world.caller.release(key)
    return Paid("succeeded", reported(message, 39, BILLS_TO_THE_END))


async def cancel_what_would_be_billed_to_the_end(world: World) -> Paid:
    for stream in (False, True):
        key = a_key()
        message = told(tokens=9, reasoning=30, status=500, times=2, key=key)
        request_id = await world.later(message, model=BILLS_TO_THE_END, stream=stream)
        async with world.between_two_calls(key):
            await world.cancel(request_id)
    return Paid("cancelled", 0)


async def cancel_before_a_call_fails_that_is_billed_to_the_end(world: World) -> Paid:
    for fault, stream in (("cut", False), ("fin", True), ("empty", False), ("early_end", True)):
        key = a_key()
        message = told(tokens=9, reasoning=30, fault=fault, times=1, hold=0, key=key)
        request_id = await world.later(message, model=BILLS_TO_THE_END, stream=stream)
        await world.cluster.simulator.call_begins(key)
        await world.cancel(request_id)
        await world.caller.release(key)
        assert (await world.paid()).state == "cancelled"
        assert len(await world.cluster.simulator.calls(key)) == 1, "the vendor is not called any more"
    return Paid("cancelled", 0)


async def worker_dies_before_output(world: World) -> Paid:
    keys, messages = [a_key(), a_key()], []
    for key, stream in zip(keys, (False, True), strict=True):
        messages.append(told(tokens=9, hold=0, key=key))
        await world.later(messages[-1], stream=stream)
        await world.cluster.simulator.call_begins(key)
    async with world.worker.dead():
        pass
    for key in keys:
        await world.cluster.simulator.call_begins(key, 2)
        await world.caller.release(key)
    return Paid("succeeded", sum(reported(message, 9) for message in messages))


async def cancel_after_a_worker_has_died(world: World) -> Paid:
    key = a_key()
    request_id = await world.later(told(hold=0, key=key))
    await world.cluster.simulator.call_begins(key)
    async with world.worker.dead():
        await world.cancel(request_id)
    return Paid("cancelled", 0)


async def worker_dies_at_a_stream(world: World) -> Paid:
    message = told(tokens=60, size=1, hold=40, key=a_key())
    async with world.reading(message, said(message, 40)):
        async with world.worker.dead():
            pass
        await world.caller.settled(world.books)
    return Paid("failed", estimated(message, said(message, 40), pieces=40))


async def worker_is_restarted_at_a_stream(world: World) -> Paid:
    message = told(tokens=60, size=1, hold=40, key=a_key())
    async with world.reading(message, said(message, 40)):
        await world.worker.restarted()
        await world.caller.settled(world.books)
    return Paid("failed", estimated(message, said(message, 40), pieces=40))


async def stream_is_too_long(world: World) -> Paid:
    message = told(size=10_000, fault="endless")
    reply = await world.caller.chat(message, stream=True, max_tokens=6)
    assert b"did not stop at the output limit" in reply.body.partition(b"\x1e")[2]
    assert not reply.complete
    return Paid("failed", estimated(message, pieces=6))


async def its_key_ends(world: World) -> Paid:
    cost = 0
    for end in ("revoked_at", "expires_at"):
        api_key = await create_key(world.books, world.caller.account_id, KeyRules())
        world.caller.key, key = api_key.key, a_key()
        message = told(hold=0, key=key)
        await world.later(message)
        await world.cluster.simulator.call_begins(key)
        await world.books.execute(f"UPDATE api_keys SET {end} = now() WHERE id = $1", api_key.key_id)
        await world.caller.settled(world.books)
        cost += estimated(message)
    return Paid("cancelled", cost)


async def batch_ends_before_its_line_begins(world: World) -> Paid:
    with world.worker.asleep():
        expiring, cancelled = [await sent(world.caller, [line(name, told())]) for name in "ab"]
        await world.books.execute("UPDATE batches SET expires_at = now() WHERE id = $1", expiring["id"])
        await world.caller.request("DELETE", f"/api/batches/{cancelled['id']}")
    ends = [(await until(world.caller, batch["id"]))["state"] for batch in (expiring, cancelled)]
    assert ends == ["expired", "cancelled"]
    return Paid(None, 0)


async def batch_is_cancelled_after_its_line_has_begun(world: World) -> Paid:
    key = a_key()
    message = told(tokens=9, hold=0, key=key)
    batch = await sent(world.caller, [line("a", message, NEVER_BUSY)])
    await world.cluster.simulator.call_begins(key)
    await world.caller.request("DELETE", f"/api/batches/{batch['id']}")
    await world.caller.release(key)
    assert (await until(world.caller, batch["id"]))["state"] == "cancelled"
    return Paid("succeeded", reported(message, 9, NEVER_BUSY))


async def repeat(world: World) -> Paid:
    message, headers = told(tokens=9), {"Idempotency-Key": a_key()}
    replies = [await world.caller.chat(message, headers=headers) for _ in range(3)]
    assert [reply.status for reply in replies] == [200] * 3
    return Paid("succeeded", reported(message, 9))


TABLE: dict[str, Row] = {
    "It succeeds.": succeeds,
    "It succeeds, and the vendor reported no tokens, or impossible ones.": succeeds_without_counts,
    "This service refuses it.": is_refused_here,
    "It waits in the queue until its deadline.": waits_until_its_deadline,
    "It asks for `service_tier: flex`, and the vendor has no capacity for that until its deadline.": finds_no_capacity,
    "It asks for `service_tier: flex`, and the vendor serves it at a dearer tier.": is_served_at_a_dearer_tier,
    "The vendor refuses it.": is_refused_by_the_vendor,
    "The vendor refuses it until no try is left.": is_refused_until_no_try_is_left,
    "The vendor cannot be reached.": cannot_be_reached,
    "The vendor does not answer in time, before any output.": is_not_answered_in_time,
    "The vendor breaks off before any output.": breaks_off_before_output,
    "A stream breaks off, or falls silent, after its first output.": breaks_off_after_output,
    "A stream goes on beyond the output limit.": stream_is_too_long,
    "A JSON answer breaks off in the middle.": json_breaks_off,
    "A JSON answer is longer than the output limit allows.": json_is_too_long,
    "You cancel it while it waits in the queue.": cancel_in_the_queue,
    "You cancel it while the vendor is being connected, or has not been sent all of it.": cancel_while_connecting,
    "You cancel it between two calls, after a refusal (429, 500, 503).": cancel_between_two_calls,
    "You leave it between two calls, after a refusal.": leave_between_two_calls,
    "You cancel or leave it while it is back in the queue, because the vendor asked to wait.": cancel_or_leave_a_deferred_one,
    "You cancel it while the vendor has it, before any output.": cancel_before_output,
    "You leave it while the vendor has it, before any output.": leave_before_output,
    "You cancel a stream after some output.": cancel_after_output,
    "You leave a stream after some output.": leave_after_output,
    "You cancel it while the vendor has it, and this vendor bills to the end.": cancel_what_is_billed_to_the_end,
    "You leave it while the vendor has it, and this vendor bills to the end.": leave_what_is_billed_to_the_end,
    "You cancel it between two calls, and this vendor bills to the end.": cancel_what_would_be_billed_to_the_end,
    "You cancel it while the vendor has it, this vendor bills to the end, and the call fails.": (
        cancel_before_a_call_fails_that_is_billed_to_the_end
    ),
    "A worker of this service dies while a JSON answer is computed, or before a stream's first output.": (
        worker_dies_before_output
    ),
    "A worker of this service dies so, and you cancel it before another one goes on.": cancel_after_a_worker_has_died,
    "A worker of this service dies after a stream's first output.": worker_dies_at_a_stream,
    "A worker of this service is restarted in the middle of a stream.": worker_is_restarted_at_a_stream,
    "Its API key is revoked or expires.": its_key_ends,
    "It is a line of a batch, and has not begun when the batch is cancelled or expires.": batch_ends_before_its_line_begins,
    "It is a line of a batch, and has begun when you cancel the batch.": batch_is_cancelled_after_its_line_has_begun,
    "You repeat it with the same Idempotency-Key.": repeat,
}
TOGETHER: tuple[set[Row], ...] = (
    {
        cancel_in_the_queue,
        cancel_between_two_calls,
        leave_between_two_calls,
        cancel_what_would_be_billed_to_the_end,
        batch_ends_before_its_line_begins,
    },
    {waits_until_its_deadline, worker_dies_before_output, cancel_after_a_worker_has_died, worker_dies_at_a_stream},
    {worker_is_restarted_at_a_stream},
)
"""Lines that put the worker to sleep; that await its death; that restart it. The others are together, too."""


def together_with(line: str) -> list[str]:
    """The lines that are under way at the same time, this one among them; no other one is."""
    groups = {row: number for number, rows in enumerate(TOGETHER) for row in rows}
    return [other for other, row in TABLE.items() if groups.get(row) == groups.get(TABLE[line])]


class Outcome(NamedTuple):
    """What a line promises, and what has come of it; `estimates`: whether what was charged is marked as an estimate."""

    promised: Paid
    paid: Paid
    estimates: set[bool]


async def outcome(line: str, world: World) -> Outcome:
    try:
        return Outcome(await TABLE[line](world), await world.paid(), await world.estimates())
    except BaseException:
        await world.worker.await_nobody()
        raise


@pytest.fixture(scope="module")
async def outcome_of(overlaid: Overlaid, books: asyncpg.Pool) -> AsyncIterator[Callable[[str], Awaitable[Outcome]]]:
    """Gives a line's outcome. Each has a customer of its own; those of a group begin with the first one that is asked for."""
    begun: dict[str, asyncio.Task[Outcome]] = {}

    async def of(line: str) -> Outcome:
        if line not in begun:
            await asyncio.gather(*begun.values(), return_exceptions=True)
            group = together_with(line)
            worker = Worker(overlaid.cluster, len(group))
            for one in group:
                world = World(await new_caller(), overlaid, books, worker)
                begun[one] = asyncio.create_task(outcome(one, world))
        return await begun[line]

    async with customers(overlaid.cluster, books) as new_caller:
        yield of
        for task in begun.values():
            task.cancel()
        await asyncio.gather(*begun.values(), return_exceptions=True)


def lines() -> dict[str, str]:
    """The page's table: what becomes of the request, and what is charged."""
    rows = re.findall(r"^\| (.+?) \| (.+?) \|$", (PAGES / "billing.md").read_text(encoding="utf-8"), re.MULTILINE)
    return dict(rows[1:])


def test_the_page_says_what_is_tested_and_nothing_else() -> None:
    assert list(lines()) == list(TABLE)


def test_the_page_names_the_models_that_bill_to_the_end() -> None:
    text = (PAGES / "billing.md").read_text(encoding="utf-8")
    sentence = text.partition("bill the whole answer anyway:")[2].partition(". Cancelling")[0]
    models, families = (re.findall(r"`([\w.-]+)`", part) for part in sentence.split("while they think"))
    billed = {model.name for model in load_catalogue() if model.bills_to_the_end}
    assert set(models) == {name for name in billed if not name.startswith(tuple(families))}
    assert billed - set(models) == {m.name for m in load_catalogue() if m.name.startswith(tuple(families))}


@pytest.mark.parametrize("line", TABLE)
async def test_what_is_charged(outcome_of: Callable[[str], Awaitable[Outcome]], line: str) -> None:
    promised, paid, estimates = await outcome_of(line)
    assert paid == promised
    words = lines()[line]
    assert words.startswith("Nothing") == (promised.charge_nano == 0) or words.startswith("Nothing more")
    if promised.charge_nano and ("estimate" in words or "reported" in words):
        assert estimates == {"estimate" in words}


async def test_nothing_is_charged_beyond_the_hold(caller: Caller, overlaid: Overlaid, books: asyncpg.Pool) -> None:
    world = World(caller, overlaid, books, Worker(overlaid.cluster, 1))
    message = told(tokens=5, usage="wrong")
    assert (await world.caller.chat(message, max_tokens=5)).status == 200
    held = price_of(MODEL).cost(Usage(input_bound(Chat([Message("user", message)]), None), 5))
    assert await world.paid() == Paid("succeeded", held)
