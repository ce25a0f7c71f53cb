"""One proof's run on a cluster: an account of its own, callers, everything they asked, and the check afterwards."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import NamedTuple

import asyncpg
import msgspec

from deploy.simulator.script import Script
from shared.ledger.accounts import create_account
from shared.ledger.api_keys import KeyRules, create_key
from shared.money import usd_to_nano
from tests.faults.books import Books
from tests.faults.checker import Case, Promise, join, violations
from tests.faults.clients import FORMS, MODEL, Asked, Caller, Form, Question
from tests.harness.cluster import Cluster
from tests.harness.support import eventually, eventually_true, pause

CREDIT_USD = Decimal(1_000)
AFTER_FAILURE_S = 0.1
ASKED_MAX = 20_000
ENDS_WITHIN_S = 60.0
LAPSED = '"event":"orphan holds expired"'
_EXPIRE = "UPDATE batches SET expires_at = now() WHERE account_id = $1 AND ended_at IS NULL"
Draw = Callable[[random.Random], tuple[Form, Script]]


class Verdict(NamedTuple):
    """`violations` is what is wrong; `settled_s` how long after the last answer the last hold was pending."""

    violations: list[str]
    cases: list[Case]
    settled_s: float

    def of(self, ending: str) -> list[Case]:
        """The requests that ended so for their callers."""
        return [case for case in self.cases if case.asked.ending == ending]

    @property
    def finished(self) -> list[Case]:
        return [case for case in self.cases if case.reading.finished]

    @property
    def charged_in_silence(self) -> list[Case]:
        """Who was told that the request is lost, which says that it is free, and was charged."""
        told = [case for case in self.cases if case.reading.error == "unavailable"]
        return [case for case in told if any(row.charged_nano for row in case.rows)]

    @property
    def told(self) -> dict[str, int]:
        """How often callers were shown which error."""
        codes = [case.reading.error for case in self.cases if case.reading.error]
        return {code: codes.count(code) for code in sorted(set(codes))}


class Trial:
    """Made by `trial`. Keys are `<name>-<number>`, so that nothing of another run is taken for ours."""

    def __init__(
        self, cluster: Cluster, name: str, seed: str, account_id: str, api_key: str, caller: Caller, credit: int
    ) -> None:
        self.cluster = cluster
        self.api_key = api_key
        self.random = random.Random(f"{seed} {name}")
        self.asked: list[Asked] = []
        self.account_id = account_id
        self.books = Books(cluster, account_id)
        self._name = f"{name}.{account_id[-6:]}"
        self._caller = caller
        self._credit = credit
        self._log_sizes = {path: path.stat().st_size for path in cluster.logs()}

    def prepare(self, form: Form, script: Script, max_tokens: int | None = None, model: str = MODEL) -> Asked:
        """The next request of this trial: the script with a key of its own."""
        script = msgspec.structs.replace(script, key=f"{self._name}-{len(self.asked):05}")
        question = Question(form=form, script=script, max_tokens=max_tokens, model=model)
        self.asked.append(Asked(question=question, url="", sent_at=time.time()))
        return self.asked[-1]

    async def send(
        self,
        asked: Asked,
        url: str | None = None,
        caller: Caller | None = None,
        after_piece: Callable[[], Awaitable[None]] | None = None,
    ) -> Asked:
        """Send it, by default to a front door drawn by lot, and read to the end."""
        asked.url = url or self.random.choice(self.cluster.urls)
        await (caller or self._caller).ask(asked, after_piece)
        return asked

    async def go_on(self, asked: Asked, url: str) -> Asked:
        """Read the rest of a stream that broke off, at `url`."""
        await self._caller.go_on(asked, url)
        return asked

    def again(self, asked: Asked) -> Asked:
        """The very same request, to be sent once more."""
        self.asked.append(Asked(question=asked.question, url="", sent_at=time.time(), headers=asked.headers))
        return self.asked[-1]

    async def add_credit(self, nano: int) -> None:
        """Put money into the account."""
        await self.cluster.postgres.fetch("SELECT credit($1, $2, NULL, NULL)", self.account_id, nano)
        self._credit += nano

    @asynccontextmanager
    async def traffic(self, callers: int, draw: Draw, url: Callable[[], str] | None = None) -> AsyncIterator[None]:
        """So many callers ask again and again while the block runs; leaving it waits for their last answers."""
        stop = asyncio.Event()
        choose = url or (lambda: self.random.choice(self.cluster.urls))
        async with asyncio.TaskGroup() as group:
            for number in range(callers):
                lot = random.Random(f"{self._name} {number} {self.random.random()}")
                group.create_task(self._keep_asking(stop, lot, draw, choose))
            try:
                yield
            finally:
                stop.set()

    async def answers_have_begun(self, count: int) -> None:
        """Wait until so many callers are reading the beginning of an answer that has not ended."""

        def reading() -> bool:
            return sum(bool(asked.first_byte_at) and asked.ending == "running" for asked in self.asked) >= count

        await eventually(reading, f"{count} answers have begun")

    async def check(self, promise: Promise, settle_within_s: float = 30.0) -> Verdict:
        """Wait until nothing is pending any more, then compare everything with everything."""
        settled_s, unsettled = await self._settle(settle_within_s)
        rows = await self.books.rows()
        calls = await self.cluster.simulator.calls(f"{self._name}-")
        journals = await self.books.journals([row.id for row in rows])
        cases = join(self.asked, calls, rows, journals)
        found = [sentence for case in cases for sentence in violations(case, promise)]
        found += unsettled + await self.check_books()
        expected = [f'"event":"{alert}"' for alert in promise.alerts] + [LAPSED] * promise.holds_may_lapse
        found += [
            line[:1_000]
            for line in self.new_log_lines()
            if _complains(line) and not any(event in line for event in expected)
        ]
        self.cluster.check_nobody_died()
        return Verdict(found, cases, settled_s)

    async def check_books(self) -> list[str]:
        """What is wrong with the account and the ledger, whoever asked for what."""
        return await self.books.set_aside() + await self._balance() + await self.books.ledger_check()

    async def _keep_asking(self, stop: asyncio.Event, lot: random.Random, draw: Draw, url: Callable[[], str]) -> None:
        while not stop.is_set():
            assert len(self.asked) < ASKED_MAX
            asked = await self.send(self.prepare(*draw(lot)), url())
            if asked.status != 200:
                await asyncio.sleep(AFTER_FAILURE_S)

    async def until_no_hold(self, within_s: float) -> None:
        """Wait until nothing of the account is held."""
        began = time.monotonic()
        while pending := await self.books.holds():
            assert time.monotonic() < began + within_s, f"{pending} holds after {within_s:g} s"
            await pause(began)

    async def _settle(self, within_s: float) -> tuple[float, list[str]]:
        """Wait until nothing is pending; gives how long after the last answer that was, and what is pending all the same."""
        began = time.monotonic()
        last = max((asked.ended_at for asked in self.asked), default=time.time())
        while True:
            pending = await self._pending()
            if not pending:
                return max(0.0, time.time() - last), []
            if time.monotonic() > began + within_s:
                return within_s, [f"after {within_s:g} s: {what}" for what in pending]
            await pause(began)

    async def _pending(self) -> list[str]:
        if holds := await self.books.holds():
            return [f"{holds} holds"]
        return await self.books.left_over([row.id for row in await self.books.rows()])

    async def _balance(self) -> list[str]:
        rows, account = await self.books.rows(), await self.books.account()
        spent = sum(row.charged_nano for row in rows)
        found = []
        if spent + account.balance_nano != self._credit:
            found.append(f"spent {spent} and left {account.balance_nano} make not {self._credit}")
        if account.held_nano or account.in_flight:
            found.append(f"the account holds {account.held_nano} for {account.in_flight} requests")
        return found

    def new_log_lines(self) -> list[str]:
        """What our processes have logged since this trial began, each line after the name of its process."""
        found = []
        for path in self.cluster.logs():
            with path.open("rb") as log:
                log.seek(self._log_sizes.get(path, 0))
                found += [f"{path.stem} logged {line}" for line in log.read().decode().splitlines()]
        return found


@asynccontextmanager
async def trial(
    cluster: Cluster, name: str, seed: str, limit_s: float, credit_usd: Decimal = CREDIT_USD
) -> AsyncIterator[Trial]:
    """A trial with credit; TimeoutError when it takes longer than its limit. One that fails leaves nothing running."""
    await cluster.restore()
    pool = await asyncpg.create_pool(cluster.postgres.url, min_size=1, max_size=1)
    credit = usd_to_nano(credit_usd)
    account = await create_account(pool, name, credit)
    key = await create_key(pool, account.id, KeyRules(name=name))
    await pool.close()
    caller = Caller(key.key, cluster.patience_s)
    run = Trial(cluster, name, seed, account.id, key.key, caller, credit)
    try:
        async with asyncio.timeout(limit_s):
            yield run
    except Exception:
        await caller.close()
        with contextlib.suppress(AssertionError):  # what failed is told, not what came of it
            await _end_what_runs(run)
        raise
    finally:
        await caller.close()


async def _end_what_runs(run: Trial) -> None:
    """Else the next proof has it for company: a large batch, say. Requests end because their callers have left."""
    await run.cluster.restore()
    await run.cluster.postgres.fetch(_EXPIRE, run.account_id)
    await eventually_true(run.books.nothing_runs, "the batches and requests have ended", ENDS_WITHIN_S)


def mixed(lot: random.Random) -> tuple[Form, Script]:
    """Traffic as it comes: all forms, short and longer answers, awkward text among them."""
    script = Script(
        tokens=lot.randint(3, 60),
        first_ms=lot.choice((0, 50, 400)),
        pace_ms=lot.choice((0, 5, 20, 40)),
        unicode=lot.random() < 0.3,
    )
    return lot.choice(FORMS), script


def streams(lot: random.Random) -> tuple[Form, Script]:
    """Streams only."""
    form, script = mixed(lot)
    return ("sse" if form == "json" else form), script


def _complains(line: str) -> bool:
    """An error, an alert, or what is no log line at all."""
    if " logged {" not in line:
        return True
    return '"level":"error"' in line or '"alert":true' in line
