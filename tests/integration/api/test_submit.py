"""Admission on a real ledger, with a queue that refuses, is lost, or comes back: no hold is ever left behind."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime

import asyncpg
import msgspec
import pytest

from api.formats.retrying import worth_asking_again
from api.http.bodies import Bodies
from api.requests.fallbacks import Chain, ChainModel
from api.requests.new_request import Admitted, NewRequest
from api.requests.question import Question
from api.requests.submit import Submitter
from shared.chat import Sampling
from shared.errors import EndUnknown, InsufficientCredit, Overloaded, RateLimited, RebootError, Unavailable
from shared.ids import new_id
from shared.job import Job
from shared.lanes import QueueName
from shared.ledger.api_keys import ApiKey
from shared.ledger.ledger import Ledger
from shared.ledger.rows import Repeat, StoredInput
from shared.ledger.settler import Settler
from shared.queue.admission import RateState
from shared.runtime.tasks import background_tasks
from shared.settings import Settings
from shared.stores import keys
from tests.harness.builders import a_model, a_reservation, a_settlement
from tests.harness.support import eventually, eventually_true
from tests.integration.books import Wallet, wallet
from tests.integration.conftest import NewAccount

CREDIT = 1_000_000_000
NOTHING_ASKED = Question(
    messages=msgspec.Raw(b"\x90"),
    sampling=msgspec.Raw(b"\x80"),
    tools=msgspec.Raw(b"\x80"),
    input_bound=0,
    writes="none",
    footprint=0,
)
"""As msgpack says it."""


class ScriptedQueue:
    """A queue that says what it is told to; `buried` is what burying answers, once Redis is back."""

    def __init__(self) -> None:
        self.refusal: RebootError | None = None
        self.full: tuple[QueueName, ...] = ()
        """The only queues that refuse, if there are any."""
        self.jobs: list[Job] = []
        self.away = False
        self.buried = True
        self.enqueued: list[str] = []
        self.cancelled: list[str] = []
        self.tried_to_bury = 0
        self.buried_ids: list[str] = []
        self.meanwhile: Callable[[], Awaitable[object]] | None = None
        """What others do before the refusal arrives."""

    async def enqueue(
        self, job: Job, name: QueueName, *, channel: str, key_id: str, rpm: int | None, epoch: int = 0
    ) -> RateState:
        if self.meanwhile:
            await self.meanwhile()
        if self.refusal and (not self.full or name in self.full):
            raise self.refusal
        self.enqueued.append(job.id)
        self.jobs.append(job)
        return RateState(0, 0.0)

    async def bury(self, request_id: str, name: QueueName) -> bool:
        self.tried_to_bury += 1
        if self.away:
            raise Unavailable("away")
        self.buried_ids += [request_id] if self.buried else []
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
        yield Submitter(ledger, queue, settler, group, Bodies(impatient), impatient)  # type: ignore[arg-type] # the same four verbs


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
        id=new_id("req"), key=key, model=a_model(), question=NOTHING_ASKED, stream=False, max_tokens=10
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


async def test_a_full_queue_is_remembered_for_the_account_that_was_refused_and_for_no_other(
    submitter: Submitter, queue: ScriptedQueue, new_account: NewAccount, pool: asyncpg.Pool
) -> None:
    large, small = await new_account(CREDIT), await new_account(CREDIT)
    queue.refusal = Overloaded("full")
    with pytest.raises(Overloaded):
        await submitter.submit(a_request(large), "channel")
    queue.refusal = None
    assert isinstance(await submitter.submit(a_request(small), "channel"), Admitted)
    with pytest.raises(Overloaded):
        await submitter.submit(a_request(large), "channel")


@pytest.mark.parametrize(
    ("full", "tried"),
    [
        ([], []),
        (["openai"], [("one", "overloaded"), ("two", "provider_busy")]),
        (["openai", "gemini"], None),
        (["gemini"], []),
    ],
)
async def test_a_chain_goes_past_full_queues_and_past_models_that_nobody_serves(
    submitter: Submitter,
    queue: ScriptedQueue,
    new_account: NewAccount,
    pool: asyncpg.Pool,
    full: list[str],
    tried: list[tuple[str, str]] | None,
) -> None:
    account = await new_account(CREDIT)
    queue.refusal, queue.full = Overloaded("full"), tuple(keys.queue(provider, "interactive") for provider in full)
    queue.full = queue.full or (keys.queue("bedrock", "interactive"),)
    models = [
        a_model(name=name, provider=provider)
        for name, provider in (("one", "openai"), ("two", "deepseek"), ("three", "gemini"))
    ]
    fitted = [
        ChainModel(name=model.name, model=model, sampling=Sampling(), input_bound=1, writes="none", ignored=())
        for model in models
    ]
    chain = Chain(tuple(fitted), absent={"two": "provider_busy"})
    request = a_request(account, model=models[0], chain=chain)
    if tried is None:
        with pytest.raises(Overloaded):
            await submitter.submit(request, "channel")
        await free_again(pool, account)
        return
    await submitter.submit(request, "channel")
    (job,) = queue.jobs
    assert [(one.model, one.code) for one in job.tried] == tried
    assert job.model.name == ("three" if tried else "one")


@pytest.mark.parametrize("size", [10, 300_000], ids=["small", "large"])
@pytest.mark.parametrize(
    "refusal", [None, Overloaded("full"), Unavailable("reply lost")], ids=["credit", "full", "lost"]
)
async def test_nothing_stays_of_what_was_to_be_kept_of_a_refused_request(
    submitter: Submitter,
    queue: ScriptedQueue,
    new_account: NewAccount,
    pool: asyncpg.Pool,
    refusal: RebootError | None,
    size: int,
) -> None:
    """A large input is written before its request is admitted."""
    account = await new_account(CREDIT if refusal else 0)
    queue.refusal = refusal
    request = a_request(account, stored_input=StoredInput(repeated=b"t", input=b"i" * size))
    with pytest.raises(type(refusal) if refusal else InsufficientCredit):
        await submitter.submit(request, "channel")
    await eventually_true(lambda: _counts_nothing(pool, account), "nothing is kept")


async def test_nothing_stays_of_the_large_input_of_a_repeat(
    submitter: Submitter, new_account: NewAccount, pool: asyncpg.Pool
) -> None:
    account = await new_account(CREDIT)
    key = {"idempotency_key": b"r" * 32, "fingerprint": b"f" * 32, "outlives_reader": True}
    assert isinstance(await submitter.submit(a_request(account, **key), "channel"), Admitted)
    request = a_request(account, stored_input=StoredInput(repeated=b"t", input=b"i" * 300_000), **key)
    assert isinstance(await submitter.submit(request, "channel"), Repeat)
    await eventually_true(lambda: _counts_nothing(pool, account), "nothing is kept")


async def _counts_nothing(pool: asyncpg.Pool, account: str) -> bool:
    query = """
    SELECT NOT EXISTS (SELECT FROM responses WHERE account_id = $1 AND (input <> '' OR told <> ''))
        AND NOT EXISTS (SELECT FROM response_room WHERE account_id = $1 AND bytes > 0)
    """
    return bool(await pool.fetchval(query, account))


async def test_when_the_queue_is_lost_the_hold_is_released_before_the_caller_is_told(
    submitter: Submitter, queue: ScriptedQueue, new_account: NewAccount, pool: asyncpg.Pool
) -> None:
    account = await new_account(CREDIT)
    queue.refusal, queue.away = Unavailable("reply lost"), True
    request = a_request(account)
    with pytest.raises(Unavailable):
        await submitter.submit(request, "channel")
    assert await wallet(pool, account) == Wallet(CREDIT, 0, 0)
    await eventually(lambda: queue.tried_to_bury > 1, "it is tried again to bury it")
    queue.away = False
    await eventually(lambda: queue.buried_ids == [request.id], "it is buried")


async def test_what_a_worker_charges_for_what_its_caller_was_told_did_not_run_is_not_taken(
    submitter: Submitter, ledger: Ledger, queue: ScriptedQueue, new_account: NewAccount, pool: asyncpg.Pool
) -> None:
    """Also when Redis has lost that it is void."""
    account = await new_account(CREDIT)
    queue.refusal, queue.buried = Unavailable("reply lost"), False
    request = a_request(account)
    with pytest.raises(Unavailable):
        await submitter.submit(request, "channel")
    await eventually(lambda: queue.cancelled == [request.id], "it is cancelled")
    charge = a_settlement(a_reservation(account, id=request.id), charge=5)
    assert await ledger.settle(charge) == "void"
    assert await wallet(pool, account) == Wallet(CREDIT, 0, 0)
    assert not await pool.fetchval("SELECT count(*) FROM unbilled WHERE request_id = $1", request.id)


async def test_who_was_charged_before_his_request_could_be_taken_back_gets_what_came_of_it(
    submitter: Submitter, ledger: Ledger, queue: ScriptedQueue, new_account: NewAccount, pool: asyncpg.Pool
) -> None:
    account = await new_account(CREDIT)
    request = a_request(account)
    queue.refusal = Unavailable("reply lost")
    queue.meanwhile = lambda: ledger.settle(a_settlement(a_reservation(account, id=request.id), charge=5))
    admitted = await submitter.submit(request, "channel")
    assert isinstance(admitted, Admitted)
    assert await wallet(pool, account) == Wallet(CREDIT - 5, 0, 0)


async def test_while_postgres_does_not_answer_a_request_is_given_up_all_the_same(
    submitter: Submitter, queue: ScriptedQueue, new_account: NewAccount, pool: asyncpg.Pool, settings: Settings
) -> None:
    account = await new_account(CREDIT)
    queue.refusal = Unavailable("reply lost")
    async with pool.acquire() as other, other.transaction():
        request = a_request(account)
        queue.meanwhile = lambda: other.execute("SELECT 1 FROM accounts WHERE id = $1 FOR UPDATE", account)
        with pytest.raises(EndUnknown) as told:
            await submitter.submit(request, "channel")
        assert not worth_asking_again(told.value.body())
        assert told.value.body().retry_after_s is None
    await free_again(pool, account)


async def test_who_can_repeat_his_request_may_do_so_although_it_is_not_known_how_it_ends(
    submitter: Submitter, queue: ScriptedQueue, new_account: NewAccount, pool: asyncpg.Pool
) -> None:
    account = await new_account(CREDIT)
    queue.refusal = Unavailable("reply lost")
    async with pool.acquire() as other, other.transaction():
        request = a_request(account, idempotency_key=b"k" * 32, fingerprint=b"f" * 32, outlives_reader=True)
        queue.meanwhile = lambda: other.execute("SELECT 1 FROM accounts WHERE id = $1 FOR UPDATE", account)
        with pytest.raises(Unavailable) as told:
            await submitter.submit(request, "channel")
        assert worth_asking_again(told.value.body())
    await free_again(pool, account)


async def test_a_lost_request_is_given_up_without_a_charge_unless_it_has_ended(
    submitter: Submitter, ledger: Ledger, new_account: NewAccount, pool: asyncpg.Pool
) -> None:
    account = await new_account(CREDIT)
    lost, ended = [await submitter.submit(a_request(account), "channel") for _ in range(2)]
    assert isinstance(lost, Admitted)
    assert isinstance(ended, Admitted)
    await ledger.settle(a_settlement(a_reservation(account, id=ended.job.id), charge=5))
    assert await submitter.take_back(lost, Unavailable("lost"))
    assert not await submitter.take_back(ended, Unavailable("lost"))
    assert await wallet(pool, account) == Wallet(CREDIT - 5, 0, 0)
