"""Bytes of one kind that a process holds at once. Whoever is about to hold some asks first, so that memory is bounded by
bytes, and not by how many there are.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from types import TracebackType
from typing import NamedTuple, Self

from shared.errors import Overloaded
from shared.runtime.metrics import BYTES_HELD


class ByteBudget:
    """At most `total` bytes, of which one owner has at most `share`, if that is given. Whoever asks for no more than `small`
    bytes may use `reserve` first, which is beside `total` and closed to the others, so that large holders do not keep small
    ones waiting.

    Those who wait come in the order in which they asked, but who waits for its own share keeps nobody else waiting.
    """

    def __init__(self, name: str, *, total: int, share: int | None = None, small: int = 0, reserve: int = 0) -> None:
        """`name` is the label of the metric."""
        self._total = total
        self._share = min(share, total) if share else None
        self._small = small
        self._reserve = reserve
        self._used = 0
        self._reserve_used = 0
        self._used_by: Counter[str] = Counter()
        self._waiting: deque[_Waiter] = deque()
        self._held = BYTES_HELD.labels(name)

    @property
    def used(self) -> int:
        """Bytes that are held, those of the reserve included."""
        return self._used + self._reserve_used

    async def hold(self, size: int, owner: str = "", *, within_s: float) -> HeldBytes:
        """Wait for room for `size` bytes of `owner`, at most `within_s`. More than its whole share counts as that share. What
        is held is let go by `HeldBytes.release`, best by `with`. Raises `Overloaded`.
        """
        if size <= self._small and self._reserve_used + size <= self._reserve:
            self._reserve_used += size
            self._held.set(self.used)
            return HeldBytes(self, size, owner, of_reserve=True)
        waiter = _Waiter(min(size, self._share or self._total), owner, asyncio.get_running_loop().create_future())
        self._waiting.append(waiter)
        self._admit()
        try:
            async with asyncio.timeout(within_s):
                await waiter.admitted
        except BaseException as error:
            if waiter in self._waiting:
                self._waiting.remove(waiter)
                self._admit()  # it may have kept others waiting
            else:
                self.give_back(waiter.size, owner)
            if isinstance(error, TimeoutError):
                raise Overloaded(f"There is no room for {size} more bytes now: send it again shortly.") from None
            raise
        return HeldBytes(self, waiter.size, owner)

    def give_back(self, size: int, owner: str, *, of_reserve: bool = False) -> None:
        """For `HeldBytes`."""
        if of_reserve:
            self._reserve_used -= size
        else:
            self._used -= size
            self._used_by[owner] -= size
            if not self._used_by[owner]:
                del self._used_by[owner]
        self._admit()
        self._held.set(self.used)

    def _admit(self) -> None:
        """Those of the waiting for whom there is room."""
        for waiter in list(self._waiting):
            if waiter.admitted.cancelled() or self._is_beyond_share(waiter):
                continue
            if self._used + waiter.size > self._total:
                return
            self._waiting.remove(waiter)
            self._used += waiter.size
            self._used_by[waiter.owner] += waiter.size
            waiter.admitted.set_result(None)
        self._held.set(self.used)

    def _is_beyond_share(self, waiter: _Waiter) -> bool:
        return self._share is not None and self._used_by[waiter.owner] + waiter.size > self._share


class HeldBytes:
    """So many bytes of a budget, until `release`; twice does no harm."""

    def __init__(self, budget: ByteBudget, size: int, owner: str, *, of_reserve: bool = False) -> None:
        self._budget = budget
        self.size = size
        self._owner = owner
        self._of_reserve = of_reserve

    def shrink(self, size: int) -> None:
        """Keep `size` bytes, if that is less."""
        if size < self.size:
            self._budget.give_back(self.size - size, self._owner, of_reserve=self._of_reserve)
            self.size = size

    def release(self) -> None:
        """Nothing of it is held any more."""
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
