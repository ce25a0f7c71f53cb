"""The log of calls served: what the proofs compare with what was charged. It holds no prompt and no vendor key."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import msgspec

CALLS_MAX = 100_000


class Call(msgspec.Struct, kw_only=True):
    """One upstream call; `ending` is empty while it runs, then completed, fault, refused, client_gone or failed.

    `prompt_tokens` and `output_tokens` are the true counts of the answer as planned, `tokens_sent` what left so far.
    """

    ordinal: int
    api: str
    started_at: float
    model: str = ""
    key: str = ""
    stream: bool = False
    fault: str = ""
    status: int = 200
    prompt_tokens: int = 0
    output_tokens: int = 0
    tokens_sent: int = 0
    ended_at: float | None = None
    ending: str = ""


class CallLog:
    """The last `CALLS_MAX` calls, and a way to wait until they look as expected."""

    def __init__(self) -> None:
        self._calls: deque[Call] = deque(maxlen=CALLS_MAX)
        self._ordinal = 0
        self._waiters: set[asyncio.Event] = set()

    @contextmanager
    def record(self, api: str) -> Iterator[Call]:
        """Log one call to its end; a client that leaves shows as a cancellation or a connection error."""
        self._ordinal += 1
        call = Call(ordinal=self._ordinal, api=api, started_at=time.time())
        self._calls.append(call)
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
            self.changed()

    def find(self, key: str | None = None, ending: str | None = None) -> list[Call]:
        """List the calls, oldest first, with this key and this ending; None is any."""
        return [c for c in self._calls if key in {None, c.key} and ending in {None, c.ending}]

    def changed(self) -> None:
        """Wake whoever waits for calls to look different."""
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
