"""Large payloads are written to Redis in pieces: promises, and every guard of the scripts that keeps them."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from arq.connections import ArqRedis
from arq.constants import job_key_prefix

from shared.chat import Message
from shared.errors import RateLimited, Unavailable
from shared.job import arq_deserializer, unpack_job
from shared.queue.queue import PIECE_BYTES, Queue
from shared.stores.scripts import Scripts
from tests.harness.builders import a_job
from tests.integration.jobs import enqueue
from tests.integration.queue.mutants import Bench, Mutant, must_be_noticed


async def a_large_payload_is_whole_whether_its_pieces_were_sent_once_or_twice(bench: Bench) -> None:
    """A piece whose answer was lost is sent again."""
    call = bench.lua.call

    async def twice(name: str, *rest: Any) -> Any:
        answer = await call(name, *rest)
        return await call(name, *rest) if name == "stage" else answer

    bench.lua.call = twice  # type: ignore[method-assign, assignment]
    text = "".join(map(str, range(PIECE_BYTES)))
    job = a_job(messages=[Message("user", text)])
    await enqueue(bench.queue, job)
    payload = await bench.client.get(job_key_prefix + job.id) or b""
    assert unpack_job(arq_deserializer(payload)["a"][0].data) == job
    assert await bench.client.pttl(job_key_prefix + job.id) > 60_000
    assert await _staged(bench) == []


async def a_large_payload_of_which_redis_has_only_a_part_is_not_enqueued(bench: Bench) -> None:
    """Redis lost it before the last piece, or before the job itself; or the first piece came again after the last one,
    over a connection that was given up.
    """
    call = bench.lua.call
    text = "x" * (2 * PIECE_BYTES + 1)

    async def lose() -> None:
        await bench.client.delete(*await _staged(bench))

    async def repeat_first() -> None:
        await call("stage", await _staged(bench), [0, b"x" * PIECE_BYTES, 3_000])

    for before, happens in ((3, lose), (4, lose), (4, repeat_first)):
        calls = itertools.count(1)

        async def disturbed(name: str, *rest: Any) -> Any:
            if next(calls) == before:  # noqa: B023 - called within this turn of the loop
                await happens()  # noqa: B023
            return await call(name, *rest)

        bench.lua.call = disturbed  # type: ignore[method-assign, assignment]
        job = a_job(messages=[Message("user", text)])
        with pytest.raises(Unavailable, match="try again shortly"):
            await enqueue(bench.queue, job, rpm=60)
        assert not await bench.client.exists(job_key_prefix + job.id)
    assert await _staged(bench) == []


async def nothing_stays_of_a_large_payload_that_is_refused(bench: Bench) -> None:
    limited = a_job(messages=[Message("user", "x" * (2 * PIECE_BYTES + 1))])
    await enqueue(bench.queue, a_job(), rpm=1)
    with pytest.raises(RateLimited):
        await enqueue(bench.queue, limited, rpm=1)
    assert await _staged(bench) == []


async def _staged(bench: Bench) -> list[str]:
    return [key.decode() async for key in bench.client.scan_iter("staged:*")]


PROMISES = (
    a_large_payload_is_whole_whether_its_pieces_were_sent_once_or_twice,
    a_large_payload_of_which_redis_has_only_a_part_is_not_enqueued,
    nothing_stays_of_a_large_payload_that_is_refused,
)
WHOLE, PARTIAL, REFUSED = PROMISES
MUTANTS = [
    Mutant(WHOLE, "stage", "elseif length == offset then", "else"),
    Mutant(PARTIAL, "enqueue", "redis.call('STRLEN', KEYS[7]) ~= tonumber(ARGV[2])", "false"),
    Mutant(WHOLE, "enqueue", "redis.call('PEXPIRE', KEYS[2], ARGV[3])"),
    Mutant(REFUSED, "enqueue", "redis.call('UNLINK', KEYS[7])"),
]


@pytest.fixture
def bench(lua: Scripts, redis_client: ArqRedis) -> Bench:
    return Bench(Queue(lua, lease_s=10, keep_run_s=60, depth_max=100), lua, redis_client)


@pytest.mark.parametrize("promise", PROMISES, ids=lambda promise: promise.__name__)
async def test_a_large_payload_is_enqueued_whole_or_not_at_all(bench: Bench, promise: Any) -> None:
    await promise(bench)


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: f"{mutant.script} without {mutant.guard}")
async def test_a_script_without_this_guard_is_noticed(bench: Bench, mutant: Mutant) -> None:
    await must_be_noticed(bench, mutant)
