"""Random sequences of holds, ends and credits over several connections, against a model of the ledger in plain Python."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import os
from collections.abc import Coroutine, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import asyncpg
import msgspec
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from shared.ledger.accounts import create_account
from shared.ledger.api_keys import KeyRules, create_key
from shared.ledger.chains import PinnedModel
from shared.ledger.check import check_ledger
from shared.ledger.ledger import settling
from shared.ledger.pinned_price import PinnedPrice
from shared.ledger.rows import Reservation
from shared.ledger.settlement import Settlement
from shared.money import NanoUsd
from shared.stores.postgres import load_queries
from tests.harness.builders import a_reservation, a_settlement, repeatable
from tests.integration.ledger.model import IN_FLIGHT_MAX, KEY_LIMIT, Model, cost

LONG = bool(os.environ.get("PROOFS"))
T = TypeVar("T")
QUERIES = load_queries("ledger")
ACCOUNTS = 2
CONNECTIONS = 3

price_of_input = st.sampled_from([0, 333_333, 1_000_000])
price_of_output = st.sampled_from([0, 142_857, 1_000_000, 3_000_000])
perhaps_a_price = st.none() | st.sampled_from([0, 100_001, 1_250_000])
prices = st.fixed_dictionaries(
    {"input_price": price_of_input, "output_price": price_of_output},
    optional={
        "cached_price": perhaps_a_price,
        "cache_write_price": perhaps_a_price,
        "cache_write_long_price": perhaps_a_price,
        "hold_input_price": perhaps_a_price,
        "hold_output_price": perhaps_a_price,
    },
)
long_prices = st.fixed_dictionaries(
    {"long_above": st.integers(0, 30), "long_input_price": price_of_input, "long_output_price": price_of_output},
    optional={
        "long_cached_price": perhaps_a_price,
        "long_cache_write_price": perhaps_a_price,
        "long_cache_write_long_price": perhaps_a_price,
    },
)
others = st.fixed_dictionaries(
    {
        "input_bound": st.integers(0, 40),
        "prices": st.builds(dict.__or__, prices, st.just({}) | long_prices),
        "limit": st.integers(1, 40),
    }
)
"""Further models of a chain."""
wishes = st.fixed_dictionaries(
    {
        "account": st.integers(0, ACCOUNTS - 1),
        "limited": st.booleans(),
        "input_bound": st.integers(0, 40),
        "prices": st.builds(dict.__or__, prices, st.just({}) | long_prices),
        "limits": st.tuples(st.integers(1, 40), st.integers(1, 40)).map(sorted),
        "others": st.just([]) | st.lists(others, max_size=3),
        "repeatable": st.none()
        | st.fixed_dictionaries(
            {
                "key": st.sampled_from("kl"),
                "body": st.sampled_from("xxxy"),
                "kept_s": st.sampled_from([86_400.0, 86_400.0, -60.0]),
            }
        ),
    }
)
some = st.integers(0, 20)


@st.composite
def token_counts(draw: st.DrawFn) -> dict[str, int | None]:
    """As this release settles them, or the previous one, which knows of nothing written to a cache."""
    uncached, cached, output, reasoning = (draw(some) for _ in range(4))
    counts: dict[str, int | None] = {
        "tokens_cached": cached,
        "tokens_output": output,
        "tokens_reasoning": min(reasoning, output),
    }
    if draw(st.booleans()):
        return counts | {"tokens_input": uncached + cached}
    written, written_long = draw(some), draw(some)
    parts = {"tokens_cache_written": written + written_long, "tokens_cache_written_long": written_long}
    return counts | parts | {"tokens_input": uncached + cached + written + written_long}


ways_to_end = st.one_of(
    st.fixed_dictionaries(
        {
            "state": st.sampled_from(["succeeded", "failed", "cancelled"]),
            "tokens": token_counts(),
            "answer": st.none() | st.binary(max_size=20),
        }
    ),
    st.fixed_dictionaries({"state": st.just("failed"), "hold_state": st.sampled_from(["released", "expired"])}),
)
ends = st.tuples(st.integers(0, 30), ways_to_end, st.integers(0, 3))
"""Which request, how, and by which model of its chain."""
batches_of_wishes = st.lists(wishes, min_size=1, max_size=4)
batches_of_ends = st.lists(ends, min_size=1, max_size=4, unique_by=lambda end: end[0])
Ends = list[tuple[int, dict[str, Any], int]]
TOMORROW = datetime.now(UTC) + timedelta(days=1)


def _with_chain(others: list[dict[str, Any]], wish: Reservation) -> Reservation:
    """The same with a chain of its own model and `others`, held for the dearest."""
    if not others:
        return wish
    own = {name: getattr(wish, name) for name in PinnedModel.__struct_fields__}
    further = (
        own
        | dict.fromkeys(PinnedPrice.__struct_fields__)
        | {"hold_input_price": None, "hold_output_price": None}
        | {"model": f"model-{number}", "price_version": f"version {number}"}
        | {"input_bound": other["input_bound"], "output_limit": other["limit"], **other["prices"]}
        for number, other in enumerate(others)
    )
    chain = tuple(PinnedModel(**one) for one in (own, *further))
    limit = max(one.output_limit for one in chain)
    return msgspec.structs.replace(wish, chain=chain, output_limit=limit)


class Database:
    """The real ledger over several connections, driven from outside a running event loop."""

    def __init__(self, url: str) -> None:
        self._runner = asyncio.Runner()
        self.pool = self.run(_pool(url))
        self.connections = [self.run(asyncpg.connect(url)) for _ in range(CONNECTIONS)]

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self._runner.run(work)

    def close(self) -> None:
        for connection in self.connections:
            self.run(connection.close())
        self.run(self.pool.close())
        self._runner.close()

    async def reserve(self, number: int, batch: list[Reservation]) -> dict[str, tuple[str, int | str | None]]:
        rows = await self.connections[number].fetch(QUERIES["reserve"], _json(batch), IN_FLIGHT_MAX)
        told = {"admitted": "granted_limit", "repeat": "existing_id"}
        return {row[0]: (row[1], row[told[row[1]]] if row[1] in told else None) for row in rows}

    async def settle(self, number: int, batch: list[Settlement]) -> dict[str, str]:
        return {row[0]: row[1] for row in await self.connections[number].fetch(*settling(batch))}

    async def credit(self, number: int, account: str, amount: int, ref: str | None) -> bool | None:
        try:
            answer = await self.connections[number].fetchval("SELECT credit($1, $2, $3, NULL)", account, amount, ref)
        except asyncpg.CheckViolationError:
            return None
        return bool(answer)


class Books(RuleBasedStateMachine):
    """Every step goes to the database and to the model; both must answer alike."""

    database: Database

    @initialize()
    def open_accounts(self) -> None:
        pool, run = self.database.pool, self.database.run
        self.accounts = [run(create_account(pool, "someone", NanoUsd(0))).id for _ in range(ACCOUNTS)]
        rules = KeyRules(limit=NanoUsd(KEY_LIMIT))
        self.keys = [run(create_key(pool, account, rules)).key_id for account in self.accounts]
        self.model = Model(self.accounts, self.keys)
        self.requests: list[Reservation] = []

    def _reservations(self, batch: list[dict[str, Any]]) -> list[Reservation]:
        made = [
            _with_chain(
                wish["others"],
                a_reservation(
                    self.accounts[wish["account"]],
                    key_id=self.keys[wish["account"]] if wish["limited"] else "no_limit",
                    input_bound=wish["input_bound"],
                    **wish["prices"],
                    output_floor=wish["limits"][0],
                    output_limit=wish["limits"][1],
                    **(repeatable(**wish["repeatable"]) if wish["repeatable"] else {}),
                ),
            )
            for wish in batch
        ]
        self.requests += made
        return made

    def _settlements(self, batch: Ends) -> list[Settlement]:
        """What is charged is what the tokens cost with the model that served."""
        made = []
        for number, end, place in batch:
            if number < len(self.requests):
                wish, how = self.requests[-1 - number], {**end, **end.get("tokens", {})}
                how.pop("tokens", None)
                how["keep_until"] = TOMORROW if how.get("answer") is not None else None
                settlement = a_settlement(wish, **how)
                server = wish.chain[place % len(wish.chain)] if wish.chain else None
                settlement = msgspec.structs.replace(settlement, served=server.model if server else None)
                charge = cost(server or wish, settlement) if settlement.hold_state == "settled" else 0
                made.append(msgspec.structs.replace(settlement, charge_nano=charge))
        return made

    @rule(number=st.integers(0, CONNECTIONS - 1), batch=batches_of_wishes)
    def reserve(self, number: int, batch: list[dict[str, Any]]) -> None:
        rows = self._reservations(batch)
        assert self.database.run(self.database.reserve(number, rows)) == self.model.reserve(rows)

    @rule(number=st.integers(0, CONNECTIONS - 1), batch=batches_of_ends)
    def settle(self, number: int, batch: Ends) -> None:
        rows = self._settlements(batch)
        assert self.database.run(self.database.settle(number, rows)) == self.model.settle(rows)

    @rule(
        number=st.integers(0, CONNECTIONS - 1),
        account=st.integers(0, ACCOUNTS - 1),
        amount=st.integers(-50, 200).filter(bool),
        ref=st.none() | st.sampled_from("ab"),
    )
    def credit(self, number: int, account: int, amount: int, ref: str | None) -> None:
        target = self.accounts[account]
        answer = self.database.run(self.database.credit(number, target, amount, ref))
        assert answer == self.model.credit(target, amount, ref)

    @rule(first=batches_of_wishes, second=batches_of_wishes, third=batches_of_ends)
    def at_once(self, first: list[dict[str, Any]], second: list[dict[str, Any]], third: Ends) -> None:
        """Three connections at the same time: the outcome is that of one of the orders."""
        settlements, a, b = self._settlements(third), self._reservations(first), self._reservations(second)

        async def race() -> list[Any]:
            database = self.database
            calls = (database.reserve(0, a), database.reserve(1, b), database.settle(2, settlements))
            return [*await asyncio.gather(*calls)]

        seen = tuple(self.database.run(race()))
        possible = [model for model, outcome in self._orders(a, b, settlements) if outcome == seen]
        assert possible, seen
        self.model = possible[0]

    def _orders(
        self, a: list[Reservation], b: list[Reservation], settlements: list[Settlement]
    ) -> Iterator[tuple[Model, tuple[Any, Any, Any]]]:
        for order in ("abs", "asb", "bas", "bsa", "sab", "sba"):
            model = copy.deepcopy(self.model)
            outcome: dict[str, Any] = {}
            for step in order:
                outcome[step] = model.settle(settlements) if step == "s" else model.reserve(a if step == "a" else b)
            yield model, (outcome["a"], outcome["b"], outcome["s"])

    @invariant()
    def the_wallets_are_those_of_the_model(self) -> None:
        query = "SELECT id, balance_nano, held_nano, in_flight FROM accounts WHERE id = ANY($1)"
        rows = self.database.run(self.database.pool.fetch(query, self.accounts))
        model = self.model
        assert {row["id"]: tuple(row)[1:] for row in rows} == {
            account: (model.balance[account], model.held_of(account), model.in_flight_of(account))
            for account in self.accounts
        }

    def teardown(self) -> None:
        if hasattr(self, "model"):
            self._compare_everything()

    def _compare_everything(self) -> None:
        pool, run, model = self.database.pool, self.database.run, self.model
        ids = [request.id for request in self.requests]
        rows = run(pool.fetch("SELECT id, hold_state, hold_nano, charged_nano FROM requests WHERE id = ANY($1)", ids))
        assert {row["id"]: row["hold_state"] for row in rows} == {
            **dict.fromkeys(model.held, "held"),
            **{request: end.hold_state for request, end in model.ended.items()},
        }
        assert {row["id"]: row["charged_nano"] for row in rows if row["hold_state"] != "held"} == model.charged
        assert {row["id"]: row["hold_nano"] for row in rows if row["hold_state"] == "held"} == model.held
        for table, expected in (("unbilled", model.unbilled), ("overruns", model.overruns)):
            found = run(pool.fetch(f"SELECT request_id, amount_nano FROM {table} WHERE request_id = ANY($1)", ids))
            assert {row["request_id"]: row["amount_nano"] for row in found} == expected
        used = run(pool.fetch("SELECT id, used_nano FROM api_keys WHERE id = ANY($1)", self.keys))
        assert {row["id"]: row["used_nano"] for row in used} == {key: model.used_of(key) for key in self.keys}
        answers = run(pool.fetch("SELECT request_id, answer FROM answers WHERE request_id = ANY($1)", ids))
        assert {row["request_id"]: row["answer"] for row in answers} == model.answers
        usage = run(pool.fetch("SELECT * FROM usage_by_day WHERE account_id = ANY($1)", self.accounts))
        assert {tuple(row)[:4]: list(row)[4:] for row in usage} == model.usage()
        report = run(check_ledger(pool))
        assert report.ok, report.violations


async def _pool(url: str) -> asyncpg.Pool:
    return await asyncpg.create_pool(url, min_size=1, max_size=4)


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()


def test_the_ledger_does_what_the_model_does(database_url: str) -> None:
    with contextlib.closing(Database(database_url)) as database:
        machine = type("Machine", (Books,), {"database": database})
        run_state_machine_as_test(
            machine,
            settings=settings(
                max_examples=150 if LONG else 15,
                stateful_step_count=25,
                deadline=None,
                suppress_health_check=list(HealthCheck),
            ),
        )
