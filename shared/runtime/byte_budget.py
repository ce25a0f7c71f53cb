"""A limit for bytes of one kind that a process holds at once. Holders ask before they hold, so that memory is bounded by
bytes and not by the number of holders.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import NamedTuple, Self

from shared.errors import Overloaded
from shared.runtime.metrics import BYTES_HELD

UNREAD_BYTES = 750_000
"""Bytes of an unread body that a connection buffers, measured with 1,500 connections (2026-11)."""


class ByteBudget:
    """A limit of `total` bytes, of which one owner has at most `share`, if that is given.

    A holder that asks for at most `small` bytes may use `reserve` first, which is beside `total` and closed to larger
    ones, so that large holders do not delay small ones. One owner has at most `reserve_share` of it, if that is given.
    Waiting holders are served in the order of their requests; one who waits for its own share delays nobody else.
    """

    def __init__(
        self,
        name: str,
        *,
        total: int,
        share: int | None = None,
        small: int = 0,
        reserve: int = 0,
        reserve_share: int | None = None,
        unread: int | None = None,
    ) -> None:
        """`name` is the label of the metric. `unread`: bytes that all waiting holders together may buffer meanwhile, at
        most `UNREAD_BYTES` each; one owner may have half of it.
        """
        self._total = total
        self._share = min(share, total) if share else None
        self._small = small
        self._reserve = reserve
        self._reserve_share = reserve if reserve_share is None else reserve_share
        self._used = 0
        self._used_by: Counter[str] = Counter()
        self._reserve_used = 0
        self._reserve_used_by: Counter[str] = Counter()
        self._waiting: deque[_Waiter] = deque()
        self._unread = unread
        self._unread_by: Counter[str] = Counter()
        self._held = BYTES_HELD.labels(name)

    @property
    def used(self) -> int:
        """Bytes that are held, including the reserve."""
        return self._used + self._reserve_used

    async def hold(self, size: int, owner: str = "", *, within_s: float) -> HeldBytes:
        """Wait at most `within_s` for room for `size` bytes of `owner`. A size beyond the owner's whole share counts as the
        share. Release the bytes with `HeldBytes.release`, best by `with`. Raises `Overloaded`, at once if too many wait.
        """
        if self._fits_into_reserve(size, owner):
            self._reserve_used += size
            self._reserve_used_by[owner] += size
            self._held.set(self.used)
            return HeldBytes(self, size, owner, of_reserve=True)
        waiter = _Waiter(min(size, self._share or self._total), owner, asyncio.get_running_loop().create_future())
        self._waiting.append(waiter)
        self._admit()
        try:
            with self._unread_of(waiter):
                async with asyncio.timeout(within_s):
                    await waiter.admitted
        except BaseException as error:
            if waiter in self._waiting:
                self._waiting.remove(waiter)
                self._admit()  # others may have waited behind it
            else:
                self.give_back(waiter.size, owner)
            if isinstance(error, TimeoutError):
                raise Overloaded(f"There is no room for {size} more bytes now: send it again shortly.") from None
            raise
        return HeldBytes(self, waiter.size, owner)

    def hold_now(self, size: int, owner: str = "") -> HeldBytes | None:
        """Take the bytes without waiting; None if there is no room, or if others wait for it."""
        if self._is_beyond_share(size, owner) or self._used + size > self._total:
            return None
        if any(not self._is_beyond_share(one.size, one.owner) for one in self._waiting):
            return None
        self._take(size, owner)
        self._held.set(self.used)
        return HeldBytes(self, size, owner)

    def give_back(self, size: int, owner: str, *, of_reserve: bool = False) -> None:
        """Give bytes back, for `HeldBytes`."""
        if of_reserve:
            self._reserve_used -= size
        else:
            self._used -= size
        used_by = self._reserve_used_by if of_reserve else self._used_by
        used_by[owner] -= size
        if not used_by[owner]:
            del used_by[owner]
        self._admit()
        self._held.set(self.used)

    def _admit(self) -> None:
        """Admit the waiting holders for whom there is room."""
        for waiter in list(self._waiting):
            if waiter.admitted.cancelled() or self._is_beyond_share(waiter.size, waiter.owner):
                continue
            if self._used + waiter.size > self._total:
                return
            self._waiting.remove(waiter)
            self._take(waiter.size, waiter.owner)
            waiter.admitted.set_result(None)
        self._held.set(self.used)

    def _take(self, size: int, owner: str) -> None:
        self._used += size
        self._used_by[owner] += size

    @contextmanager
    def _unread_of(self, waiter: _Waiter) -> Iterator[None]:
        """Count the unread bytes of one waiting holder. Raises `Overloaded` if there are too many."""
        size = 0 if waiter.admitted.done() else min(waiter.size, UNREAD_BYTES)
        by = self._unread_by
        if self._unread and size and (by.total() + size > self._unread or 2 * (by[waiter.owner] + size) > self._unread):
            raise Overloaded("So many wait for room that there is none for another one: send it again shortly.")
        by[waiter.owner] += size
        try:
            yield
        finally:
            by[waiter.owner] -= size
            if not by[waiter.owner]:
                del by[waiter.owner]

    def _fits_into_reserve(self, size: int, owner: str) -> bool:
        fits = size <= self._small and self._reserve_used + size <= self._reserve
        return fits and self._reserve_used_by[owner] + size <= self._reserve_share

    def _is_beyond_share(self, size: int, owner: str) -> bool:
        return self._share is not None and self._used_by[owner] + size > self._share


class HeldBytes:
    """Bytes of a budget that are held until `release`; releasing twice does no harm."""

    def __init__(self, budget: ByteBudget, size: int, owner: str, *, of_reserve: bool = False) -> None:
        self._budget = budget
        self.size = size
        self._owner = owner
        self._of_reserve = of_reserve

    def shrink(self, size: int) -> None:
        """Keep `size` bytes, if that is less than before."""
        if size < self.size:
            self._budget.give_back(self.size - size, self._owner, of_reserve=self._of_reserve)
            self.size = size

    def release(self) -> None:
        """Give all bytes back."""
        self.shrink(0)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.release()


class _Waiter(NamedTuple):
    size: int
    owner: str
    admitted: asyncio.Future[None]
