"""What a caller is told when Redis has lost what it had acknowledged: what the books say, and nothing that is not certain."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import asyncpg
import msgspec
import pytest
from arq.connections import ArqRedis

from api.endpoints.requests import _has_ended_before
from api.formats.retrying import worth_asking_again
from api.http.bodies import Bodies
from api.requests import request_events
from api.requests.custody import Custody
from api.requests.follower import LOST, DoorClosed, Follower
from api.requests.log import find_request
from api.requests.new_request import Admitted
from api.requests.relay import STOPPING
from api.requests.request_events import LOST_END, RequestEvents
from api.requests.submit import Submitter
from shared.errors import UNKNOWN_END, InvalidRequest, Unavailable
from shared.ids import created_at
from shared.job import Chunk, Done, Event, Failed, Job, JobHead, KeptAnswer, pack, unpack_settlement
from shared.ledger.ledger import Ledger
from shared.ledger.settler import Settler
from shared.money import Usage
from shared.queue.admission import RateState
from shared.queue.claims import Claim
from shared.queue.queue import Queue
from shared.queue.settled_records import SettledRecords
from shared.runtime.tasks import background_tasks
from shared.settings import Settings
from shared.stores import keys
from shared.stores.scripts import Scripts
from tests.harness.builders import a_job, a_reservation, a_settlement, packed_job, repeatable
from tests.harness.support import eventually_true
from tests.integration.books import Wallet, wallet
from tests.integration.conftest import NewAccount
from tests.integration.jobs import OPENAI, claim, claim_one
from tests.integration.journals import DirectJournal

CREDIT = 1_000_000
HOLD = 100
CHARGE = 40
USAGE = Usage(1, 1)


class Door:
    """A front door's parts on a real queue and ledger, which looks into journals after a tenth of a second."""

    def __init__(
        self, pool: asyncpg.Pool, ledger: Ledger, queue: Queue, lua: Scripts, submitter: Submitter, settings: Settings
    ) -> None:
        self.pool = pool
        self.ledger = ledger
        self.queue = queue
        self.lua = lua
        self.submitter = submitter
        self.settings = settings
        self.request_events = RequestEvents(pool, submitter, "channel", settings)

    async def admitted(self, account: str, *, stream: bool = True, kept: bool = False) -> Admitted:
        """A request that is held for and enqueued."""
        job = a_job(account_id=account, stream=stream, hold_nano=HOLD, keep_until=datetime.now(UTC) if kept else None)
        changes: dict[str, Any] = repeatable(job.id) if kept else {}
        await self.ledger.reserve(a_reservation(account, HOLD, id=job.id, stream=stream, **changes))
        await self.enqueue(job)
        return self.submitter.admitted(packed_job(job), "interactive", "key", RateState(0, 0.0), outlives_reader=kept)

    async def enqueue(self, job: Job) -> None:
        await self.queue.enqueue(job, OPENAI, channel="channel", key_id="key", rpm=None)

    async def settled(self, job: JobHead, **changes: Any) -> None:
        """As its worker does it."""
        reservation = a_reservation(job.account_id, HOLD, id=job.id)
        assert await self.ledger.settle(a_settlement(reservation, CHARGE, **changes)) == "settled"

    def follower(self, admitted: Admitted, first: int = 0) -> Follower:
        follower = Follower(admitted.job.id, self.lua, self.settings, first)
        follower.look_up()
        return follower

    async def told(self, admitted: Admitted, follower: Follower) -> list[Event]:
        """All that the caller gets from here on."""
        return [event async for event in self.request_events.of(admitted, follower)]


@pytest.fixture
async def door(
    pool: asyncpg.Pool, ledger: Ledger, queue: Queue, lua: Scripts, settings: Settings
) -> AsyncIterator[Door]:
    hurried = msgspec.structs.replace(settings, relay_silence_s=0.1, settle_retry_s=0.02)
    async with background_tasks() as group:
        records = SettledRecords(lua, hurried)
        settler = Settler(ledger, group, retry_s=0.02, on_committed=records.keep_void)
        submitter = Submitter(ledger, queue, settler, group, Bodies(hurried), hurried)
        yield Door(pool, ledger, queue, lua, submitter, hurried)


async def _read(door: Door, admitted: Admitted, claim: Claim, words: str) -> Follower:
    """A reader who has had these words of a stream."""
    follower = door.follower(admitted)
    for place, word in enumerate(words):
        await DirectJournal(door.lua, claim, live_s=60, length=place).append(Chunk(word))
    for word in words:
        assert await anext(follower) == Chunk(word)
    return follower


async def test_who_reads_past_a_shortened_journal_is_told_how_the_request_ended(
    door: Door, redis_client: ArqRedis, new_account: NewAccount, pool: asyncpg.Pool
) -> None:
    """Its last words were lost, the next owner ended it with an error and what was left was charged."""
    account = await new_account(CREDIT)
    admitted = await door.admitted(account)
    follower = await _read(door, admitted, await claim_one(door.queue), "abc")
    await door.settled(admitted.job, state="failed", error_code="provider_error", error_message="lost")
    await redis_client.flushdb()
    (end,) = await door.told(admitted, follower)
    assert isinstance(end, Failed)
    assert (end.error.code, end.charged_nano) == ("provider_error", CHARGE)


async def test_who_misses_the_end_of_a_charged_stream_is_told_that_it_was_charged(
    door: Door, redis_client: ArqRedis, new_account: NewAccount
) -> None:
    admitted = await door.admitted(await new_account(CREDIT))
    follower = await _read(door, admitted, await claim_one(door.queue), "abc")
    await door.settled(admitted.job)
    await redis_client.flushdb()
    (end,) = await door.told(admitted, follower)
    assert isinstance(end, Failed)
    assert (end.error.code, end.error.message, end.charged_nano) == ("gone", LOST_END, CHARGE)


@pytest.mark.parametrize("stream", [True, False])
async def test_an_answer_that_is_kept_is_given_although_redis_has_lost_it(
    door: Door, redis_client: ArqRedis, new_account: NewAccount, *, stream: bool
) -> None:
    admitted = await door.admitted(await new_account(CREDIT), stream=stream, kept=True)
    kept = KeptAnswer(Done("stop", USAGE, CHARGE, "abc"), None)
    await door.settled(admitted.job, answer=pack(kept), keep_until=created_at(admitted.job.id).replace(year=2100))
    await redis_client.flushdb()
    whole = Done("stop", USAGE, CHARGE, "abc")
    expected = [Chunk("abc"), Done("stop", USAGE, CHARGE)] if stream else [whole]
    assert await door.told(admitted, door.follower(admitted)) == expected


async def test_who_is_told_that_nothing_is_charged_is_not_charged_whatever_comes_later(
    door: Door, redis_client: ArqRedis, new_account: NewAccount, pool: asyncpg.Pool
) -> None:
    account = await new_account(CREDIT)
    admitted = await door.admitted(account)
    follower = await _read(door, admitted, await claim_one(door.queue), "abc")
    await redis_client.flushdb()
    (end,) = await door.told(admitted, follower)
    assert isinstance(end, Failed)
    assert (end.error.code, end.error.message, end.charged_nano) == ("unavailable", LOST, 0)
    assert await wallet(pool, account) == Wallet(CREDIT, 0, 0)
    late = a_settlement(a_reservation(account, HOLD, id=admitted.job.id), CHARGE)
    assert await door.ledger.settle(late) == "void"
    assert await wallet(pool, account) == Wallet(CREDIT, 0, 0)


async def test_while_the_books_cannot_be_asked_nobody_is_told_what_it_cost(
    door: Door, redis_client: ArqRedis, new_account: NewAccount, monkeypatch: pytest.MonkeyPatch
) -> None:
    admitted = await door.admitted(await new_account(CREDIT))
    follower = await _read(door, admitted, await claim_one(door.queue), "abc")
    await redis_client.flushdb()
    async with door.pool.acquire() as other, other.transaction():
        await other.execute("SELECT 1 FROM accounts WHERE id = $1 FOR UPDATE", admitted.job.account_id)
        (end,) = await door.told(admitted, follower)
    assert isinstance(end, Failed)
    assert (end.error.code, end.error.message) == ("unavailable", UNKNOWN_END)
    assert not worth_asking_again(end.error)


async def test_who_has_read_words_is_told_how_it_ended_without_a_look_for_the_whole_answer(
    door: Door, redis_client: ArqRedis, new_account: NewAccount, monkeypatch: pytest.MonkeyPatch
) -> None:
    admitted = await door.admitted(await new_account(CREDIT), kept=True)
    follower = await _read(door, admitted, await claim_one(door.queue), "abc")
    await door.settled(admitted.job)
    await redis_client.flushdb()
    looked: list[str] = []

    async def look(_: asyncpg.Pool, request_id: str) -> None:
        looked.append(request_id)

    monkeypatch.setattr(request_events, "find_answer", look)
    (end,) = await door.told(admitted, follower)
    assert isinstance(end, Failed)
    assert (end.error.code, end.charged_nano, looked) == ("gone", CHARGE, [])


@pytest.mark.parametrize("away", [0, 2])
async def test_that_nothing_is_charged_is_kept_for_a_postgres_that_loses_it(
    door: Door, redis_client: ArqRedis, new_account: NewAccount, monkeypatch: pytest.MonkeyPatch, away: int
) -> None:
    """As soon as Redis answers."""
    admitted = await door.admitted(await new_account(CREDIT))
    follower = await _read(door, admitted, await claim_one(door.queue), "abc")
    await redis_client.flushdb()
    call, lost = door.lua.call, itertools.count()

    async def called(name: str, *arguments: Any) -> Any:
        if name == "forget" and next(lost) < away:
            raise Unavailable("away")
        return await call(name, *arguments)

    monkeypatch.setattr(door.lua, "call", called)
    await door.told(admitted, follower)
    await eventually_true(lambda: redis_client.exists(keys.SETTLED), "it is kept")
    (record,) = await redis_client.hvals(keys.SETTLED)  # type: ignore[misc] # typed for both clients
    kept = unpack_settlement(record)
    assert (kept.hold_state, kept.charge_nano, kept.void) == ("released", 0, True)


@pytest.mark.parametrize("state", ["succeeded", "failed"])
async def test_who_was_charged_is_told_so_although_his_answer_cannot_be_looked_up(
    door: Door, redis_client: ArqRedis, new_account: NewAccount, monkeypatch: pytest.MonkeyPatch, state: str
) -> None:
    admitted = await door.admitted(await new_account(CREDIT))
    await door.settled(admitted.job, state=state)
    await redis_client.flushdb()

    async def away(_: asyncpg.Pool, request_id: str) -> None:
        raise Unavailable(request_id)

    monkeypatch.setattr(request_events, "find_answer", away)
    (end,) = await door.told(admitted, door.follower(admitted))
    assert isinstance(end, Failed)
    assert (end.error.code, end.error.message, end.charged_nano) == ("gone", LOST_END, CHARGE)


@pytest.mark.parametrize("kept", [True, False], ids=["a repeat is the same request", "a repeat is another one"])
async def test_whose_request_goes_on_without_him_is_not_told_to_ask_again_unless_that_is_free(
    door: Door, new_account: NewAccount, *, kept: bool
) -> None:
    admitted = await door.admitted(await new_account(CREDIT), stream=False, kept=kept)
    follower = door.follower(admitted)
    follower.close(DoorClosed(STOPPING))
    (end,) = await door.told(admitted, follower)
    assert isinstance(end, Failed)
    assert (end.error.message, worth_asking_again(end.error)) == (STOPPING, kept)


async def test_an_overdue_request_that_a_worker_has_is_left_to_it(door: Door, new_account: NewAccount) -> None:
    admitted = await door.admitted(await new_account(CREDIT))
    claimed = await claim_one(door.queue)
    assert not await door.submitter.bury(admitted)
    reservation = a_reservation(admitted.job.account_id, HOLD, id=admitted.job.id)
    done, charge = Done("stop", USAGE, CHARGE), a_settlement(reservation, CHARGE)
    await DirectJournal(door.lua, claimed, live_s=60).append(done, charge)  # which a void request refuses


async def test_an_overdue_request_that_was_charged_is_not_told_to_have_expired(
    door: Door, new_account: NewAccount
) -> None:
    """Redis has lost its end, so that it lies in the queue for all that the front door sees."""
    admitted = await door.admitted(await new_account(CREDIT))
    late = msgspec.structs.replace(admitted, job=msgspec.structs.replace(admitted.job, deadline_ms=0))
    await door.settled(admitted.job)
    (end,) = await door.told(late, door.follower(admitted))
    assert isinstance(end, Failed)
    assert (end.error.code, end.charged_nano) == ("gone", CHARGE)


async def test_a_stream_that_is_watched_over_is_not_begun_anew_once_its_words_were_read(
    door: Door, redis_client: ArqRedis, new_account: NewAccount
) -> None:
    account = await new_account(CREDIT)
    read, unread = [await door.admitted(account, kept=True) for _ in range(2)]
    custody = Custody(door.pool, door.lua, door.submitter, door.settings, "channel")
    custody.watch(read, begun=True)
    custody.watch(unread)
    await redis_client.flushdb()
    for admitted in (read, unread):
        await custody._look_after(admitted)
    assert [one.id for one in await claim(door.queue)] == [unread.job.id]


@pytest.mark.parametrize("state", ["succeeded", "failed"])
async def test_who_comes_back_beyond_a_shortened_journal_is_told_how_the_request_ended(
    door: Door, redis_client: ArqRedis, new_account: NewAccount, state: str
) -> None:
    admitted = await door.admitted(await new_account(CREDIT))
    job, claimed = admitted.job, await claim_one(door.queue)
    await _read(door, admitted, claimed, "abc")
    running = await find_request(door.pool, job.account_id, job.id)
    with pytest.raises(InvalidRequest):
        await _has_ended_before(redis_client, running, first=4)
    await door.settled(job, state=state, error_code="provider_error" if state == "failed" else None)
    await door.queue.finish(claimed)
    ended = await find_request(door.pool, job.account_id, job.id)
    assert not await _has_ended_before(redis_client, ended, first=4)
    told = [event async for event in door.request_events.of_earlier(ended, door.follower(admitted, first=4))]
    assert [event.error.code for event in told if isinstance(event, Failed)] == [
        "provider_error" if state == "failed" else "gone"
    ]


async def test_a_stream_that_is_free_is_not_shown_again_with_a_price(door: Door, new_account: NewAccount) -> None:
    """Its caller was told that it is lost; Redis has forgotten that, so that its worker could end it."""
    admitted = await door.admitted(await new_account(CREDIT))
    job, claimed = admitted.job, await claim_one(door.queue)
    await _read(door, admitted, claimed, "a")
    await door.settled(job, state="failed", hold_state="released", charge_nano=0, void=True, error_code="unavailable")
    await DirectJournal(door.lua, claimed, live_s=60, length=1).append(Done("stop", USAGE, CHARGE))
    logged = await find_request(door.pool, job.account_id, job.id)
    word, end = [event async for event in door.request_events.of_earlier(logged, door.follower(admitted))]
    assert word == Chunk("a")
    assert isinstance(end, Failed)
    assert (end.error.code, end.charged_nano) == ("unavailable", 0)


async def test_a_request_that_is_watched_over_is_not_put_back_once_it_has_ended(
    door: Door, redis_client: ArqRedis, new_account: NewAccount
) -> None:
    account = await new_account(CREDIT)
    ended, lost = [await door.admitted(account, kept=True) for _ in range(2)]
    custody = Custody(door.pool, door.lua, door.submitter, door.settings, "channel")
    for admitted in (ended, lost):
        custody.watch(admitted)
    await door.settled(ended.job)
    await redis_client.flushdb()
    for admitted in (ended, lost):
        await custody._look_after(admitted)
    assert (await claim_one(door.queue)).id == lost.job.id
    assert len(custody) == 1
