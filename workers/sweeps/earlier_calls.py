"""What the sweeps and the batches ask about requests that end without another attempt; `request/resuming.py` answers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from shared.job import Job
    from shared.ledger.settlement import LostCall


class Calls(Protocol):
    """The vendor calls of a request: their number, and those that the vendor bills and nobody is charged for."""

    calls: int
    lost: list[LostCall]


class EarlierCalls(Protocol):
    """Reads the calls of requests that end without another attempt."""

    async def of(self, request_id: str, job_of: Callable[[], Awaitable[Job | None]]) -> Calls:
        """The calls of a request, whose job `job_of` gives. Raises `Unavailable`."""
