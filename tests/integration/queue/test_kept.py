"""What outlives its request stays within a budget: the promises, and every guard of the scripts that keeps them."""

from __future__ import annotations

import pytest
from arq.connections import ArqRedis
from arq.constants import job_key_prefix

from shared.job import Chunk, Event
from shared.ledger.settlement import Settlement
from shared.queue.byte_limits import ByteLimits
from shared.queue.claims import Claim
from shared.queue.journal import read_on
from shared.queue.queue import Queue
from shared.stores import keys
from shared.stores.scripts import Scripts
from tests.harness.builders import a_job, a_release, a_reservation, a_settlement
from tests.integration.jobs import CHANNEL, OPENAI_BATCH, claim_one, enqueue, room
from tests.integration.queue.mutants import Bench, Mutant, Promise, must_be_noticed

KEPT_MAX = 8_000
LIMITS = ByteLimits(asked=10_000, kept=KEPT_MAX, readers_ms=60_000)
TEXT = Chunk("x" * 1_000)


async def _ended(bench: Bench, event: Event = TEXT, *, paid: bool = True, reader: bool = False) -> Claim:
    """A request that has ended with that event; its reader has taken leave before, unless there is one."""
    job = a_job()
    await enqueue(bench.queue, job)
    if not reader:
        await bench.client.hset(keys.run(job.id), "channel", "")  # type: ignore[misc] # typed for both clients
    one = await claim_one(bench.queue)
    reservation = a_reservation("acc_x", id=one.id)
    await _end(bench, one, event, a_settlement(reservation) if paid else a_release(reservation))
    return one


async def _end(bench: Bench, one: Claim, event: Event, settlement: Settlement) -> None:
    await bench.journal(one, ending=bench.queue.ending(one)).append(event, settlement)


async def _journals(bench: Bench, ended: list[Claim]) -> list[bool]:
    """Whether each has one still."""
    return [bool(await bench.client.exists(keys.journal(one.id))) for one in ended]


async def _read(bench: Bench, one: Claim) -> int:
    return len((await read_on(bench.lua, one.id, 0, events_max=9, bytes_max=9, channel=CHANNEL)).entries)


async def _is_asked(bench: Bench, one: Claim) -> bool:
    return bool(await bench.client.exists(keys.asked(one.id)))


async def what_was_asked_is_kept_for_a_while_when_it_is_short(bench: Bench) -> None:
    for asked, kept in ((0, False), (10, False), (10_000, True)):
        queue = Queue(bench.lua, lease_s=10, keep_run_s=60, depth_max=3, byte_limits=LIMITS._replace(asked=asked))
        one = await _ended(bench._replace(queue=queue))
        assert await _is_asked(bench, one) is kept
        assert not await bench.client.exists(job_key_prefix + one.id)
        assert not kept or 0 < await bench.client.pttl(keys.asked(one.id)) <= 60_000


async def what_was_asked_for_nothing_is_not_kept(bench: Bench) -> None:
    """Of a request that cost nothing; one that succeeded for free is kept."""
    assert not await _is_asked(bench, await _ended(bench, paid=False))
    assert await _is_asked(bench, await _ended(bench))


async def the_oldest_go_first(bench: Bench) -> None:
    ended = [await _ended(bench, paid=False) for _ in range(12)]
    kept = await _journals(bench, ended)
    assert kept == [False] * kept.index(True) + [True] * sum(kept)
    assert sum(kept) == KEPT_MAX // 1_000 - 1
    assert await _all_kept(bench) <= KEPT_MAX


async def what_was_asked_goes_like_the_journals(bench: Bench) -> None:
    ended = [await _ended(bench) for _ in range(12)]
    assert [await _is_asked(bench, one) for one in ended[:6]] == [False] * 6
    assert await _is_asked(bench, ended[-1])
    assert await _all_kept(bench) <= KEPT_MAX


async def a_journal_is_not_taken_while_it_is_read(bench: Bench) -> None:
    """By whoever was there at its end, or came later; after that it goes as any other."""
    at_its_end, later = await _ended(bench, paid=False, reader=True), await _ended(bench, paid=False)
    for number in range(20):
        await _ended(bench, paid=False)
        if number == 3:
            await bench.queue.listen(later.id, CHANNEL)
            assert await _read(bench, later) == 1
    assert await _journals(bench, [at_its_end, later]) == [True, True]
    assert await _all_kept(bench) <= KEPT_MAX
    for one in (at_its_end, later):
        await bench.client.hset(keys.run(one.id), "read", "1")  # type: ignore[misc]
    for _ in range(20):
        await _ended(bench, paid=False)
    assert await _journals(bench, [at_its_end, later]) == [False, False]


async def the_journal_of_a_request_that_runs_again_is_not_taken(bench: Bench) -> None:
    """Redis had lost its end, and it was put back."""
    one = await _ended(bench, paid=False)
    await bench.client.delete(keys.journal(one.id), keys.run(one.id))
    await enqueue(bench.queue, a_job(id=one.id), epoch=1_000)
    again = await claim_one(bench.queue)
    await bench.journal(again).append(Chunk("again"))
    for _ in range(20):
        await _ended(bench, paid=False)
    assert await _journals(bench, [again]) == [True]


async def when_all_is_read_nothing_is_taken(bench: Bench) -> None:
    ended = [await _ended(bench, paid=False, reader=True) for _ in range(20)]
    assert await _journals(bench, ended) == [True] * 20
    assert await _all_kept(bench) > 2 * KEPT_MAX


async def small_ones_that_are_read_go_at_three_times_as_much(bench: Bench) -> None:
    ended = [await _ended(bench, paid=False, reader=True) for _ in range(40)]
    assert 2 * KEPT_MAX < await _all_kept(bench) <= 3 * KEPT_MAX
    assert 2 * KEPT_MAX // 1_100 < sum(await _journals(bench, ended)) <= 3 * KEPT_MAX // 1_000


async def long_ones_that_are_read_go_at_twice_as_much(bench: Bench) -> None:
    """Those who read small ones beside them keep them."""
    limits = LIMITS._replace(kept=100_000)
    bench = bench._replace(queue=Queue(bench.lua, lease_s=10, keep_run_s=60, depth_max=100, byte_limits=limits))
    small = await _ended(bench, paid=False, reader=True)
    long = [await _ended(bench, Chunk("x" * 70_000), paid=False, reader=True) for _ in range(6)]
    assert await _journals(bench, [small, *long]) == [True] + [False] * 4 + [True] * 2


async def a_long_journal_takes_the_room_of_many(bench: Bench) -> None:
    ended = [await _ended(bench, paid=False) for _ in range(6)]
    await _ended(bench, Chunk("x" * 7_000), paid=False)
    assert not any(await _journals(bench, ended))


async def what_went_by_itself_is_counted_no_more(bench: Bench) -> None:
    """When the first thing comes into a slice, those whose time is over are forgotten."""
    for _ in range(3):
        await _ended(bench)
    for name in await _slices(bench):
        assert 0 < await bench.client.pttl(f"kept:{name}") <= 70_000
    await _move_slices(bench, "1000")
    await _ended(bench, Chunk("x"), paid=False)
    assert 0 < await _all_kept(bench) < 100
    assert "1000" not in await _slices(bench)
    assert await bench.client.pttl(keys.KEPT) > 0


async def what_is_gone_when_room_is_needed_is_counted_no_more(bench: Bench) -> None:
    """Its time is not over, but it is not there."""
    for _ in range(5):
        await _ended(bench, paid=False)
    await _move_slices(bench, str(1_000 * (await bench.client.time())[0] + 30_000))
    one = await _ended(bench, Chunk("x" * 5_000), paid=False)
    assert 5_000 < await _all_kept(bench) < 6_000
    assert await _journals(bench, [one]) == [True]


async def _move_slices(bench: Bench, name: str) -> None:
    """As if all that is kept had been so long ago, and were gone."""
    for one in await _slices(bench):
        await bench.client.hincrby(keys.KEPT, name, int(await bench.client.hget(keys.KEPT, one) or 0))  # type: ignore[misc]
        await bench.client.hdel(keys.KEPT, one)  # type: ignore[misc]
        await bench.client.delete(f"kept:{one}")


async def a_batchs_journals_go_sooner(bench: Bench) -> None:
    """Nobody reads them."""
    bench = bench._replace(queue=Queue(bench.lua, lease_s=10, keep_run_s=600, depth_max=100, byte_limits=LIMITS))
    interactive = await _ended(bench, paid=False)
    job = a_job()
    await enqueue(bench.queue, job, OPENAI_BATCH)
    await bench.client.hset(keys.run(job.id), "channel", "")  # type: ignore[misc]
    (line,) = await bench.queue.claim("wrk_a", [room(OPENAI_BATCH)], 1)
    await _end(bench, line, TEXT, a_settlement(a_reservation("acc_x", id=line.id)))
    assert not await _is_asked(bench, line)
    for _ in range(40):
        if not (await _journals(bench, [line]))[0]:
            break
        await _ended(bench, paid=False)
    assert await _journals(bench, [line]) == [False]
    assert await _journals(bench, [interactive]) == [True]


async def _all_kept(bench: Bench) -> int:
    return int(await bench.client.hget(keys.KEPT, "all") or 0)  # type: ignore[misc]


async def _slices(bench: Bench) -> list[str]:
    return [name.decode() for name in await bench.client.hkeys(keys.KEPT) if name != b"all"]  # type: ignore[misc]


MUTANTS = [
    *(
        Mutant(what_was_asked_is_kept_for_a_while_when_it_is_short, "append", guard, instead)
        for guard, instead in (
            ("redis.call('RENAME', job, asked)", ""),
            ("redis.call('PEXPIRE', asked, keep_ms)", ""),
            ("payload <= tonumber(asked_max)", "true"),
        )
    ),
    *(
        Mutant(the_oldest_go_first, "append", guard, instead)
        for guard, instead in (
            ("  make_room(tonumber(kept_max), readers_ms, now)", ""),
            ("'LPOP', 'kept:'", "'RPOP', 'kept:'"),
            ("redis.call('UNLINK', name)", ""),
            ("  redis.call('HINCRBY', 'kept', 'all', bytes)\n", ""),
            ("        redis.call('HINCRBY', 'kept', 'all', -bytes)\n", ""),
            ("  keep('journal:' .. id, journal_bytes, now + keep_ms, now)", ""),
        )
    ),
    Mutant(what_was_asked_goes_like_the_journals, "append", "    keep(asked, payload, now + keep_ms, now)"),
    *(
        Mutant(a_journal_is_not_taken_while_it_is_read, script, guard, instead)
        for script, guard, instead in (
            ("append", "if is_needed(name, bytes, most, readers_ms, now) then", "if false then"),
            ("append", "tonumber(read) > now - readers_ms and ", ""),
            ("append", "    redis.call('HSET', run_key, 'read', now)", ""),
            ("append", "  if run.channel ~= '' then\n", "  if true then\n"),
            ("append", "        put(names[#names], name, bytes)", ""),
            ("read", "  redis.call('HSET', KEYS[4], 'read', time[1] * 1000 + math.floor(time[2] / 1000))", ""),
        )
    ),
    Mutant(
        the_journal_of_a_request_that_runs_again_is_not_taken,
        "append",
        "redis.call('EXISTS', 'arq:job:' .. id) == 1",
        "false",
    ),
    Mutant(
        small_ones_that_are_read_go_at_three_times_as_much,
        "append",
        " and tonumber(redis.call('HGET', 'kept', 'all')) <= times * most",
    ),
    *(
        Mutant(
            long_ones_that_are_read_go_at_twice_as_much, "append", "tonumber(bytes) > SMALL_BYTES and 2 or 3", instead
        )
        for instead in ("2", "3")
    ),
    *(
        Mutant(what_went_by_itself_is_counted_no_more, "append", guard, instead)
        for guard, instead in (
            ("if tonumber(one) <= now then", "if false then"),
            ("redis.call('PEXPIREAT', 'kept:' .. slice, slice)", ""),
            ("redis.call('PEXPIRE', 'kept', KEPT_LIVE_MS)", ""),
            ("-(redis.call('HGET', 'kept', slice) or 0)", "0"),
            ("redis.call('HDEL', 'kept', slice)", ""),
        )
    ),
    Mutant(what_is_gone_when_room_is_needed_is_counted_no_more, "append", "        forget_slice(slice)\n"),
    Mutant(
        a_batchs_journals_go_sooner,
        "append",
        "  table.sort(names)",
        "  table.sort(names, function(a, b) return a > b end)",
    ),
]
PROMISES = list(
    dict.fromkeys(
        [
            *(mutant.broken for mutant in MUTANTS),
            what_was_asked_for_nothing_is_not_kept,
            a_long_journal_takes_the_room_of_many,
            when_all_is_read_nothing_is_taken,
        ]
    )
)


@pytest.fixture
def bench(lua: Scripts, redis_client: ArqRedis) -> Bench:
    return Bench(Queue(lua, lease_s=10, keep_run_s=60, depth_max=100, byte_limits=LIMITS), lua, redis_client)


@pytest.mark.parametrize("promise", PROMISES, ids=lambda promise: promise.__name__)
async def test_what_is_kept_stays_within_its_budget(bench: Bench, promise: Promise) -> None:
    await promise(bench)


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: f"{mutant.script} without {mutant.guard}")
async def test_a_script_without_this_guard_is_noticed(bench: Bench, mutant: Mutant) -> None:
    await must_be_noticed(bench, mutant)
