"""A line that cannot be run for a reason of its own fails in its place, uncharged, and an operator hears of it; its batch and
all others go on.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from arq.connections import ArqRedis
from asyncpg import Pool
from structlog.testing import capture_logs

from shared.batches.batches import Ask, Batch, find_batch, pack_ask
from shared.batches.queries import BATCHES
from shared.batches.results import Result
from shared.catalogue.models import load_catalogue
from shared.chat import NO_TOOLS, ImagePart, ImageUrl, Message, Sampling
from shared.ledger.ledger import Ledger
from tests.harness.builders import a_reservation
from tests.integration.batches.batching import (
    MODEL,
    a_batch,
    a_batch_of,
    a_worker_serves,
    all_results,
    an_ask,
    the_end_of,
)
from tests.integration.batches.conftest import MakeFeeder
from tests.integration.books import assert_books_balance
from tests.integration.conftest import NewAccount
from workers.batches.feed import BatchFeeder

RICH = 10**12
PICTURE = Message("user", [ImagePart(ImageUrl("data:image/png;base64,AAAA"))])
OVERLAY = """
[[model]]
name = "openai-o1"
input = 999999999
output = 999999999

[[model]]
name = "openai-gpt-4o-mini"
sampling = false
"""
"""A model that nobody can pay for any more, and one that has lost an ability."""
WARM = Ask("openai-gpt-4o-mini", [Message("user", "Hello")], Sampling(temperature=0.5), NO_TOOLS, 10)
ToFeeder = Callable[..., BatchFeeder]


@pytest.fixture
async def to_feeder(make_feeder: MakeFeeder, redis_client: ArqRedis, tmp_path: Path) -> ToFeeder:
    """Makes a feeder with `OVERLAY` and other settings."""
    await a_worker_serves(redis_client, slots=10)
    (tmp_path / "overlay.toml").write_text(OVERLAY)
    return partial(make_feeder, load_catalogue(tmp_path / "overlay.toml"), batch_model_unknown_s=0.001)


async def _results(pool: Pool, batch: Batch) -> list[Result]:
    return await all_results(pool, await find_batch(pool, batch.account_id, batch.id))


def _alerts(logs: list[Any]) -> list[str]:
    return [one["event"] for one in logs if one.get("alert")]


@pytest.mark.parametrize(
    ("asked", "code", "says"),
    [
        (an_ask("openai-o1"), "invalid_request", "lower max_tokens"),
        (an_ask("a-model-that-left"), "model_not_found", "is not offered any more"),
        (pack_ask(WARM), "invalid_request", "`temperature`"),
        (pack_ask(Ask("openai-o3-mini", [PICTURE], Sampling(), NO_TOOLS, 10)), "invalid_request", "`images`"),
        (b"\xc1", "internal_error", "cannot be read"),
        (pack_ask(Ask(MODEL, [], Sampling(), NO_TOOLS, 10))[:-3], "internal_error", "cannot be read"),
    ],
    ids=["beyond what can be held", "of a model that left", "lost option", "lost images", "no msgpack", "half a line"],
)
async def test_a_line_that_cannot_be_run_fails_in_its_place_and_the_others_run(
    to_feeder: ToFeeder, pool: Pool, ledger: Ledger, new_account: NewAccount, asked: bytes, code: str, says: str
) -> None:
    good = an_ask()
    batch = await a_batch_of(pool, await new_account(RICH), good, asked, good)
    with capture_logs() as logs:
        assert await to_feeder().feed("openai") == (3, True)
    assert _alerts(logs) == ["batch lines failed before they were run"]
    (failed,) = await _results(pool, batch)
    assert (failed.number, failed.error_code, failed.request_id) == (2, code, None)
    assert says in (failed.error_message or "")
    rows = await pool.fetch(
        "SELECT id, created_at, batch_number, batch_day FROM requests WHERE batch_id = $1", batch.id
    )
    assert sorted(row["batch_number"] for row in rows) == [1, 3]
    for row in rows:
        await ledger.settle(the_end_of(a_reservation(batch.account_id, batch_id=batch.id, **dict(row)), charge=0))
    await pool.execute(BATCHES["finalize"])
    assert await pool.fetchval(BATCHES["end"], batch.id) == "completed"
    ended = await find_batch(pool, batch.account_id, batch.id)
    assert (ended.completed, ended.failed, ended.fed, ended.charged_nano) == (2, 1, 3, 0)
    await assert_books_balance(pool)


async def test_a_batch_of_nothing_else_comes_to_its_end_and_alerts_once(
    to_feeder: ToFeeder, pool: Pool, new_account: NewAccount
) -> None:
    batch = await a_batch_of(pool, await new_account(0), *[an_ask("a-model-that-left")] * 30)
    feeder = to_feeder(batch_window_max=10)
    with capture_logs() as logs:
        assert [await feeder.feed("openai") for _ in range(4)] == [(10, True), (10, True), (10, True), (0, False)]
    assert len(_alerts(logs)) == 1
    await pool.execute(BATCHES["finalize"])
    assert await pool.fetchval(BATCHES["end"], batch.id) == "completed"
    assert [result.error_code for result in await _results(pool, batch)] == ["model_not_found"] * 30
    await assert_books_balance(pool)


async def test_lines_of_a_model_that_only_newer_processes_know_wait_for_those(
    to_feeder: ToFeeder, pool: Pool, new_account: NewAccount
) -> None:
    account = await new_account(RICH)
    waits = await a_batch_of(pool, account, an_ask(), an_ask("a-model-to-come"))
    await a_batch(pool, account, "openai")
    feeder = to_feeder(batch_model_unknown_s=3_600.0)
    with capture_logs() as logs:
        assert await feeder.feed("openai") == (2, True)
        await feeder.feed("openai")
    assert not _alerts(logs)
    assert (await find_batch(pool, account, waits.id)).failed == 0


@pytest.mark.parametrize("refusal", ["numeric_value_out_of_range", "check_violation"])
async def test_a_line_that_the_database_refuses_fails_alone(
    to_feeder: ToFeeder, pool: Pool, new_account: NewAccount, refusal: str
) -> None:
    await pool.execute(
        f"""
        CREATE FUNCTION refuse_third() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF NEW.batch_number = 3 THEN
                RAISE EXCEPTION 'no' USING ERRCODE = '{refusal}';
            END IF;
            RETURN NEW;
        END $$;
        CREATE TRIGGER refuse_third BEFORE INSERT ON requests FOR EACH ROW EXECUTE FUNCTION refuse_third();
        """
    )
    try:
        batch = await a_batch(pool, await new_account(RICH), *["openai"] * 5)
        feeder = to_feeder()
        for _ in range(5):
            await feeder.feed("openai")
    finally:
        await pool.execute("DROP TRIGGER refuse_third ON requests; DROP FUNCTION refuse_third()")
    (failed,) = await _results(pool, batch)
    assert (failed.number, failed.error_code) == (3, "internal_error")
    assert (await find_batch(pool, batch.account_id, batch.id)).fed == 5
    await assert_books_balance(pool)


async def test_a_batch_that_cannot_be_fed_at_all_lets_the_others_pass(
    to_feeder: ToFeeder, pool: Pool, new_account: NewAccount
) -> None:
    broken = await a_batch(pool, await new_account(RICH), "openai")
    await a_batch(pool, await new_account(RICH), "openai")
    await pool.execute(f"ALTER TABLE batches ADD CONSTRAINT broken CHECK (id <> '{broken.id}' OR fed = 0)")
    try:
        with capture_logs() as logs:
            assert await to_feeder().feed("openai") == (1, True)
    finally:
        await pool.execute("ALTER TABLE batches DROP CONSTRAINT broken")
    assert _alerts(logs) == ["batch cannot be fed"]


async def test_labels_that_postgres_does_not_keep_do_not_keep_a_line_from_being_run(
    to_feeder: ToFeeder, pool: Pool, new_account: NewAccount
) -> None:
    ask = Ask(MODEL, [Message("user", "Hello")], Sampling(), NO_TOOLS, 10, {"of": "a\0b"})
    batch = await a_batch_of(pool, await new_account(RICH), pack_ask(ask))
    assert await to_feeder().feed("openai") == (1, True)
    assert (await find_batch(pool, batch.account_id, batch.id)).failed == 0


async def test_prices_that_rise_after_the_upload_stop_one_line_and_no_vendor(
    make_feeder: MakeFeeder, pool: Pool, redis_client: ArqRedis, new_account: NewAccount
) -> None:
    await a_worker_serves(redis_client, slots=10)
    feeder = make_feeder(load_catalogue(None, price_factor=Decimal(10**8)))
    dear = await a_batch(pool, await new_account(RICH), "openai", model="openai-o1")
    await a_batch(pool, await new_account(RICH), "openai", model="amazon-nova-micro")
    assert await feeder.feed("openai") == (2, True)
    (failed,) = await _results(pool, dear)
    assert failed.error_code == "invalid_request"
