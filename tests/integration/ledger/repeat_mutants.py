"""What breaks when a guard of idempotency keys, of kept answers or of the usage roll-up is taken out of the ledger's SQL."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from shared.ids import new_id
from shared.stores.postgres import load_queries
from tests.harness.builders import a_release, a_reservation, a_settlement, repeatable
from tests.integration.books import Wallet, wallet
from tests.integration.ledger.scratch import Mutant, Scratch

FAILED: dict[str, Any] = {"state": "failed"}
SUMS = (
    *("requests", "failed", "tokens_input", "tokens_output", "tokens_cached", "tokens_cache_written"),
    *("tokens_reasoning", "charged_nano"),
)
USAGE = f"SELECT {', '.join(f'sum({name})::bigint' for name in SUMS)} FROM usage_by_day"


async def one_key_is_one_request(scratch: Scratch) -> None:
    account = await scratch.account(1_000)
    first, *again = (a_reservation(account, **repeatable()) for _ in range(5))
    assert await scratch.reserve(first, again[0]) == ["admitted", "repeat"]
    assert await scratch.reserve(again[1]) == ["repeat"]
    await scratch.settle(a_settlement(first, 40))
    assert await scratch.reserve(again[2]) == ["repeat"]
    assert await wallet(scratch.pool, account) == Wallet(960, 0, 0)


async def who_pays_has_had_the_answer(scratch: Scratch) -> None:
    account = await scratch.account(1_000)
    first = a_reservation(account, **repeatable())
    await scratch.reserve(first)
    await scratch.settle(a_settlement(first, 40, **FAILED))
    assert await scratch.reserve(a_reservation(account, **repeatable())) == ["repeat"]


async def what_failed_uncharged_is_started_again(scratch: Scratch) -> None:
    account = await scratch.account(1_000)
    for _ in range(3):
        attempt, same = (a_reservation(account, **repeatable()) for _ in range(2))
        assert await scratch.reserve(attempt, same) == ["admitted", "repeat"]
        await scratch.settle(a_release(attempt))


async def another_body_is_a_mismatch(scratch: Scratch) -> None:
    account = await scratch.account(1_000)
    first, other = a_reservation(account, **repeatable()), a_reservation(account, **repeatable(body="another"))
    assert await scratch.reserve(first, other) == ["admitted", "mismatch"]
    await scratch.settle(a_release(first))
    assert await scratch.reserve(other) == ["mismatch"]


async def a_key_counts_until_its_time_is_over(scratch: Scratch) -> None:
    account = await scratch.account(1_000)
    assert await scratch.reserve(a_reservation(account, **repeatable(kept_s=-1))) == ["admitted"]
    for outcome in ("admitted", "repeat"):
        assert await scratch.reserve(a_reservation(account, **repeatable(body="another"))) == [outcome]


async def a_key_belongs_to_its_account(scratch: Scratch) -> None:
    for _ in range(2):
        assert await scratch.reserve(a_reservation(await scratch.account(1_000), **repeatable())) == ["admitted"]


async def who_has_no_key_repeats_nothing(scratch: Scratch) -> None:
    account = await scratch.account(1_000)
    await scratch.reserve(a_reservation(account, **repeatable()))
    batch = [a_reservation(account, **repeatable()), a_reservation(account)]
    assert await scratch.reserve(*batch) == ["repeat", "admitted"]


async def a_refusal_leaves_the_key(scratch: Scratch) -> None:
    account = await scratch.account(100)
    assert await scratch.reserve(a_reservation(account, 101, **repeatable())) == ["credit"]
    assert await scratch.reserve(a_reservation(account, **repeatable(body="another"))) == ["admitted"]


async def an_answer_is_kept_once_where_it_is_wanted(scratch: Scratch) -> None:
    account = await scratch.account(1_000)
    kept, plain, released = (a_reservation(account) for _ in range(3))
    await scratch.reserve(kept, plain, released)
    await scratch.settle(a_release(released))
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    answered = a_settlement(kept, 1, answer=b"\0\xff", keep_until=tomorrow)
    late = a_settlement(released, 1, answer=b"late", keep_until=tomorrow)
    for outcomes in (["settled", "settled", "settled", "unbilled"], ["repeated"] * 4):
        assert await scratch.settle(answered, a_settlement(plain, 1), answered, late) == outcomes
    rows = await scratch.pool.fetch("SELECT request_id, answer, keep_until FROM answers")
    assert [tuple(row) for row in rows] == [(kept.id, b"\0\xff", tomorrow)]


async def usage_is_the_sum_of_what_ended(scratch: Scratch) -> None:
    account = await scratch.account(1_000)
    tokens = {
        "tokens_input": 3,
        "tokens_output": 5,
        "tokens_cached": 1,
        "tokens_reasoning": 2,
        "tokens_cache_written": 7,
    }
    for done in (1, 2):
        batch = [a_reservation(account) for _ in range(4)]
        await scratch.reserve(*batch)
        ends = [
            a_settlement(batch[0], 10, **tokens),
            a_settlement(batch[1], 10, state="cancelled", **tokens),
            a_release(batch[2]),
        ]
        for _ in range(2):
            await scratch.settle(*ends)
        await scratch.pool.execute("UPDATE requests SET messages = 'x' WHERE ended_at IS NULL")
        assert await _used(scratch) == [number * done for number in (3, 2, 6, 10, 2, 14, 4, 20)]
    query = load_queries("ledger_check")["usage_is_sum_of_ended_requests"]
    assert await scratch.pool.fetch(query) == []


async def a_repair_by_hand_counts(scratch: Scratch) -> None:
    reservation = a_reservation(await scratch.account(1_000))
    await scratch.reserve(reservation)
    await scratch.settle(a_settlement(reservation, 10, tokens_input=7))
    await scratch.pool.execute("UPDATE requests SET charged_nano = 4, tokens_input = 5")
    assert await _used(scratch) == [1, 0, 5, 0, 0, 0, 0, 4]


async def a_day_is_a_day_in_utc(scratch: Scratch) -> None:
    evening = datetime(2026, 3, 31, 23, 30, tzinfo=UTC)
    reservation = a_reservation(await scratch.account(1_000), id=new_id("req", int(evening.timestamp() * 1000)))
    await scratch.reserve(reservation)
    async with scratch.pool.acquire() as connection:
        await connection.execute("SET timezone = 'Pacific/Kiritimati'")
        await scratch.settle(a_settlement(reservation, 1), connection=connection)
    assert await scratch.pool.fetchval("SELECT day FROM usage_by_day") == evening.date()


async def _used(scratch: Scratch) -> list[int]:
    return list(await scratch.pool.fetchrow(USAGE) or ())


ROLL_UP = "roll_up_usage"
TAKE_KEY = "IF item.idempotency_key IS NOT NULL THEN\n                INSERT"
REPEAT_MUTANTS = [
    Mutant(one_key_is_one_request, "reserve", "ELSIF existing_id IS NOT NULL AND NOT over_uncharged", "ELSIF false"),
    Mutant(one_key_is_one_request, "reserve", "r.state IN ('failed', 'cancelled') AND", ""),
    Mutant(one_key_is_one_request, "reserve", "r.charged_nano = 0, false)", "r.charged_nano = 0, true)"),
    Mutant(one_key_is_one_request, "reserve", TAKE_KEY, "IF false THEN\n                INSERT"),
    Mutant(who_pays_has_had_the_answer, "reserve", "AND r.charged_nano = 0", ""),
    Mutant(what_failed_uncharged_is_started_again, "reserve", "AND NOT over_uncharged", ""),
    Mutant(what_failed_uncharged_is_started_again, "reserve", "request_id = EXCLUDED.request_id,", ""),
    Mutant(what_failed_uncharged_is_started_again, "reserve", "request_created_at = EXCLUDED.request_created_at,", ""),
    Mutant(another_body_is_a_mismatch, "reserve", "AND same_body IS NOT TRUE", "AND false"),
    Mutant(another_body_is_a_mismatch, "reserve", "AND same_body IS NOT TRUE", "AND NOT (same_body OR over_uncharged)"),
    Mutant(a_key_counts_until_its_time_is_over, "reserve", "AND i.keep_until > now()", ""),
    Mutant(a_key_counts_until_its_time_is_over, "reserve", "fingerprint = EXCLUDED.fingerprint,", ""),
    Mutant(a_key_counts_until_its_time_is_over, "reserve", ", keep_until = EXCLUDED.keep_until", ""),
    Mutant(a_key_belongs_to_its_account, "reserve", "WHERE i.account_id = item.account_id AND", "WHERE"),
    Mutant(who_has_no_key_repeats_nothing, "reserve", "existing_id := NULL;", ""),
    Mutant(
        a_refusal_leaves_the_key,
        "reserve",
        "IF existing_id IS NOT NULL AND same_body IS NOT TRUE THEN",
        """IF item.idempotency_key IS NOT NULL THEN
            INSERT INTO idempotency_keys VALUES (item.account_id, decode(item.idempotency_key, 'base64'),
                decode(item.fingerprint, 'base64'), item.id, item.created_at, item.keep_until) ON CONFLICT DO NOTHING;
        END IF;
        IF existing_id IS NOT NULL AND same_body IS NOT TRUE THEN""",
    ),
    Mutant(an_answer_is_kept_once_where_it_is_wanted, "settle_and_keep", "AND s.outcome = 'settled'", ""),
    Mutant(an_answer_is_kept_once_where_it_is_wanted, "settle_and_keep", "s.request_id = a.request_id AND", ""),
    Mutant(an_answer_is_kept_once_where_it_is_wanted, "settle_and_keep", "ON CONFLICT DO NOTHING", ""),
    Mutant(usage_is_the_sum_of_what_ended, "settle", "AND r.hold_state = 'held'", ""),
    Mutant(usage_is_the_sum_of_what_ended, "", "", "DROP TRIGGER requests_rolled_up ON requests"),
    Mutant(usage_is_the_sum_of_what_ended, ROLL_UP, "FROM rows_after WHERE ended_at IS NOT NULL", "FROM rows_after"),
    Mutant(usage_is_the_sum_of_what_ended, ROLL_UP, "FROM rows_before WHERE ended_at IS NOT NULL", "FROM rows_before"),
    Mutant(usage_is_the_sum_of_what_ended, ROLL_UP, "c.state <> 'succeeded'", "c.state = 'failed'"),
    *(Mutant(usage_is_the_sum_of_what_ended, ROLL_UP, f"{name} = u.{name} +", f"{name} =") for name in SUMS),
    Mutant(a_repair_by_hand_counts, ROLL_UP, "SELECT -1,", "SELECT 0,"),
    Mutant(a_day_is_a_day_in_utc, ROLL_UP, "(c.created_at AT TIME ZONE 'UTC')::date", "c.created_at::date"),
]
