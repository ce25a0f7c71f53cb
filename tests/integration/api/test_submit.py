"""Admission on a real ledger, with a queue that refuses, is lost, or comes back: no hold is ever left behind."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import asyncpg
import msgspec
import pytest

from api.requests.submit import Admitted, NewRequest, Submitter
from shared.chat import Sampling
from shared.errors import InsufficientCredit, Overloaded, RateLimited, RebootError, Unavailable
from shared.ids import new_id
from shared.job import Job
from shared.lanes import QueueName
from shared.ledger.api_keys import ApiKey
from shared.ledger.ledger import Ledger
from shared.ledger.settler import Settler
from shared.queue.queue import RateState
from shared.runtime.tasks import background_tasks
from shared.settings import Settings
from tests.harness.builders import a_model
from tests.harness.support import eventually, eventually_true
from tests.integration.conftest import NewAccount

CREDIT = 1_000_000_000
SAMPLING = Sampling()


class ScriptedQueue:
    """A queue that says what it is told to; `buried` is what burying answers, once Redis is back."""

    def __init__(self) -> None:
        self.refusal: RebootError | None = None
        self.away = False
        self.buried = True
        self.enqueued: list[str] = []
        self.cancelled: list[str] = []

    async def enqueue(
        self, job: Job, name: QueueName, *, channel: str, key_id: str, rpm: int | None, epoch: int = 0
    ) -> RateState:
        if self.refusal:
            raise self.refusal
        self.enqueued.append(job.id)
        return RateState(0, 0.0)

    async def bury(self, request_id: str, name: QueueName) -> bool:
        if self.away:
            raise Unavailable("away")
        return self.buried

    async def cancel(self, request_id: str) -> None:
        self.cancelled.append(request_id)


@pytest.fixture
def queue() -> ScriptedQueue:
    return ScriptedQueue()


@pytest.fixture
async def submitter(ledger: Ledger, queue: ScriptedQueue, settings: Settings) -> AsyncIterator[Submitter]:
    impatient = msgspec.structs.replace(settings, settle_retry_s=0.02)
    async with background_tasks() as group:
        settler = Settler(ledger, group, retry_s=0.02)
        yield Submitter(ledger, queue, settler, group, impatient)  # type: ignore[arg-type] # the same four verbs


def a_request(account_id: str, **changes: object) -> NewRequest:
    key = ApiKey(
        id="key",
        account_id=account_id,
        name="",
        secret_sha256=b"",
        scopes=("inference",),
        rpm=None,
        limit=None,
        used=0,  # type: ignore[arg-type]
        expires_at=None,
        revoked_at=None,
        created_at=datetime.now(UTC),
    )
    request = NewRequest(
        id=new_id("req"), key=key, model=a_model(), messages=[], sampling=SAMPLING, stream=False, max_tokens=10
    )
    return msgspec.structs.replace(request, **changes)


async def free_again(pool: asyncpg.Pool, account_id: str) -> None:
    """Wait until nothing is held and everything is there."""
    query = "SELECT 1 FROM accounts WHERE id = $1 AND held_nano = 0 AND in_flight = 0 AND balance_nano = $2"
    await eventually_true(lambda: pool.fetchval(query, account_id, CREDIT), "the hold is released")


async def test_an_admitted_request_is_held_for_and_enqueued(
    submitter: Submitter, queue: ScriptedQueue, new_account: NewAccount, pool: asyncpg.Pool
) -> None:
    account = await new_account(CREDIT)
    admitted = await submitter.submit(a_request(account), "channel")
    assert isinstance(admitted, Admitted)
    assert queue.enqueued == [admitted.job.id]
    held = await pool.fetchval("SELECT held_nano FROM accounts WHERE id = $1", account)
    assert held == admitted.job.hold_nano > 0


async def test_without_credit_nothing_is_enqueued(
    submitter: Submitter, queue: ScriptedQueue, new_account: NewAccount
) -> None:
    with pytest.raises(InsufficientCredit):
        await submitter.submit(a_request(await new_account(0)), "channel")
    assert queue.enqueued == []


@pytest.mark.parametrize("refusal", [Overloaded("full"), RateLimited("slow down", retry_after_s=30)])
async def test_a_refusal_by_the_queue_releases_the_hold(
    submitter: Submitter, queue: ScriptedQueue, new_account: NewAccount, pool: asyncpg.Pool, refusal: RebootError
) -> None:
    account = await new_account(CREDIT)
    queue.refusal = refusal
    with pytest.raises(type(refusal)):
        await submitter.submit(a_request(account), "channel")
    await free_again(pool, account)


async def test_a_known_refusal_costs_no_store_and_leaves_no_row(
    submitter: Submitter, queue: ScriptedQueue, new_account: NewAccount, pool: asyncpg.Pool
) -> None:
    account = await new_account(CREDIT)
    queue.refusal = RateLimited("slow down", retry_after_s=30)
    for _ in range(5):
        with pytest.raises(RateLimited):
            await submitter.submit(a_request(account), "channel")
    assert await pool.fetchval("SELECT count(*) FROM requests WHERE account_id = $1", account) == 1


async def test_when_the_queue_is_lost_the_job_is_buried_before_its_hold_is_released(
    submitter: Submitter, queue: ScriptedQueue, new_account: NewAccount, pool: asyncpg.Pool
) -> None:
    account = await new_account(CREDIT)
    queue.refusal, queue.away = Unavailable("reply lost"), True
    with pytest.raises(Unavailable):
        await submitter.submit(a_request(account), "channel")
    await asyncio.sleep(0.1)  # several tries to bury it, all of them in vain
    assert await pool.fetchval("SELECT held_nano FROM accounts WHERE id = $1", account) > 0
    queue.away = False
    await free_again(pool, account)


async def test_when_a_worker_has_the_job_after_all_it_is_cancelled_and_the_worker_settles(
    submitter: Submitter, queue: ScriptedQueue, new_account: NewAccount, pool: asyncpg.Pool
) -> None:
    account = await new_account(CREDIT)
    queue.refusal, queue.buried = Unavailable("reply lost"), False
    request = a_request(account)
    with pytest.raises(Unavailable):
        await submitter.submit(request, "channel")
    await eventually(lambda: queue.cancelled == [request.id], "it is cancelled")
    assert await pool.fetchval("SELECT held_nano FROM accounts WHERE id = $1", account) > 0


async def test_a_lost_request_is_given_up_without_a_charge(
    submitter: Submitter, new_account: NewAccount, pool: asyncpg.Pool
) -> None:
    account = await new_account(CREDIT)
    admitted = await submitter.submit(a_request(account), "channel")
    assert isinstance(admitted, Admitted)
    submitter.give_up(admitted, Unavailable("lost"))
    await free_again(pool, account)
