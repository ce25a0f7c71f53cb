"""The log of calls served, which the proofs compare with what was charged. It contains no prompt and no vendor key."""

from __future__ import annotations

import asyncio
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

import msgspec

from deploy.simulator.upstreams import Payer

CALLS_MAX, PAYERS_MAX = 100_000, 1_000


class Call(msgspec.Struct, kw_only=True):
    """One upstream call. `ending` is empty while it runs, then completed, fault, refused, full, client_gone or failed.
    `prompt_tokens` and `output_tokens` are the true counts of the planned answer, `tokens_sent` is the number of those
    sent so far. `thinks`: the vendor's model would have thought about it. `tier` is the service tier that serves it.
    `account` and `region` are those of `Payer`.
    """

    ordinal: int
    api: str
    started_at: float
    account: str = ""
    region: str = ""
    model: str = ""
    key: str = ""
    stream: bool = False
    thinks: bool = False
    tier: str = ""
    fault: str = ""
    status: int = 200
    prompt_tokens: int = 0
    output_tokens: int = 0
    tokens_sent: int = 0
    ended_at: float | None = None
    ending: str = ""


class BillLine(msgspec.Struct, kw_only=True):
    """A vendor's bill to an account for one model at one service tier: completed calls with their true counts, and
    incomplete calls with their prompts and the tokens that were sent.
    """

    account: str
    region: str
    model: str
    tier: str
    calls: int = 0
    prompt_tokens: int = 0
    output_tokens: int = 0
    broken_calls: int = 0
    broken_prompt_tokens: int = 0
    broken_output_tokens: int = 0


class Seen(msgspec.Struct, kw_only=True):
    """The calls of one account in one region: how they ended, and the most that ran at once."""

    vendor: str
    account: str
    region: str
    calls: int = 0
    running: int = 0
    running_max: int = 0
    endings: Counter[str] = msgspec.field(default_factory=Counter)


def bill_of(calls: Iterable[Call]) -> list[BillLine]:
    """The bill for these calls."""
    lines: dict[tuple[str, str, str, str], BillLine] = {}
    for call in calls:
        place = (call.account, call.region, call.model, call.tier)
        if call.ending == "completed":
            line = lines.setdefault(place, _empty(call))
            line.calls += 1
            line.prompt_tokens += call.prompt_tokens
            line.output_tokens += call.output_tokens
        elif call.ending and call.prompt_tokens:
            line = lines.setdefault(place, _empty(call))
            line.broken_calls += 1
            line.broken_prompt_tokens += call.prompt_tokens
            line.broken_output_tokens += call.tokens_sent
    return [lines[place] for place in sorted(lines)]


def _empty(call: Call) -> BillLine:
    return BillLine(account=call.account, region=call.region, model=call.model, tier=call.tier)


class CallLog:
    """The last `CALLS_MAX` calls, and a way to wait for them. The calls of a key are indexed: otherwise a waiting test
    would read the whole log at every change, and delay all calls.
    """

    def __init__(self) -> None:
        self._calls: deque[Call] = deque()
        self._by_key: dict[str, dict[int, Call]] = {}
        """By key, its calls by their ordinals."""
        self._seen: dict[Payer, Seen] = {}
        self._ordinal = 0
        self._waiters: set[asyncio.Event] = set()

    @contextmanager
    def record(self, api: str, payer: Payer | None = None) -> Iterator[Call]:
        """Log one call to its end; a client that leaves shows as a cancellation or a connection error."""
        payer = payer or Payer()
        self._ordinal += 1
        call = Call(ordinal=self._ordinal, api=api, started_at=time.time(), account=payer.account, region=payer.region)
        self._add(call)
        seen = self._see(payer)
        try:
            yield call
        except (asyncio.CancelledError, ConnectionError):
            call.ending = "client_gone"
            raise
        except BaseException:
            call.ending = "failed"
            raise
        finally:
            call.ending = call.ending or "completed"
            call.ended_at = time.time()
            seen.running -= 1
            seen.endings[call.ending] += 1
            self.changed()

    def name(self, call: Call, key: str) -> None:
        """A call its key, which is known only when its script has been read."""
        self._remove_from_index(call)
        call.key = key
        self._by_key.setdefault(key, {})[call.ordinal] = call
        self.changed()

    def find(self, key: str | None = None, ending: str | None = None) -> list[Call]:
        """List the calls, oldest first, with this key and this ending; None is any."""
        calls: Iterable[Call] = self._calls if key is None else self._of_key(key)
        return [call for call in calls if ending is None or call.ending == ending]

    def seen(self) -> list[Seen]:
        """The endings of calls, by account and region."""
        return list(self._seen.values())

    def changed(self) -> None:
        """Wake everybody who waits for calls."""
        for waiter in self._waiters:
            waiter.set()

    async def until(self, condition: Callable[[CallLog], bool], deadline_s: float = 5.0) -> None:
        """Return as soon as the condition holds; raises `TimeoutError` at the deadline."""
        event = asyncio.Event()
        self._waiters.add(event)
        try:
            async with asyncio.timeout(deadline_s):
                while not condition(self):
                    event.clear()
                    await event.wait()
        finally:
            self._waiters.discard(event)

    def reset(self) -> None:
        """Forget every call; ordinals go on."""
        self._calls.clear()
        self._by_key.clear()
        self._seen.clear()

    def _see(self, payer: Payer) -> Seen:
        """Count one more running call of `payer`; the oldest payers are forgotten beyond a limit."""
        if len(self._seen) >= PAYERS_MAX and payer not in self._seen:
            del self._seen[next(iter(self._seen))]
        seen = self._seen.setdefault(payer, Seen(vendor=payer.vendor, account=payer.account, region=payer.region))
        seen.calls += 1
        seen.running += 1
        seen.running_max = max(seen.running_max, seen.running)
        return seen

    def _add(self, call: Call) -> None:
        self._calls.append(call)
        self._by_key.setdefault(call.key, {})[call.ordinal] = call
        if len(self._calls) > CALLS_MAX:
            self._remove_from_index(self._calls.popleft())

    def _of_key(self, key: str) -> list[Call]:
        calls = self._by_key.get(key, {})
        return [calls[ordinal] for ordinal in sorted(calls)]

    def _remove_from_index(self, call: Call) -> None:
        calls = self._by_key.get(call.key, {})
        calls.pop(call.ordinal, None)
        if not calls:
            self._by_key.pop(call.key, None)
