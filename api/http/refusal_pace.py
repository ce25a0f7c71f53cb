"""The pace at which an account is refused. A refused request costs its caller nothing, but the service spends time on
reading and checking it.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from shared.errors import Overloaded, ProviderRejected

if TYPE_CHECKING:
    from shared.errors import RebootError
    from shared.settings import Settings

BURST_S = 1.0
"""Seconds without a refusal after which an account may be refused, without a wait, as often as fits into this time."""
SERVER_ERRORS = 500
ACCOUNTS_MAX = 1_000
"""The number of remembered accounts above which accounts whose pace is normal again are forgotten."""


def is_paced(error: RebootError) -> bool:
    """True if the answer is delayed if there are too many: the caller's own faults, and `overloaded`, whose `Retry-After` a
    client ignores that asks again at once. Other failures of this service and of vendors are answered without delay.
    """
    return error.status < SERVER_ERRORS or isinstance(error, ProviderRejected | Overloaded)


class RefusalPace:
    """Delays the answers of an account that is refused more than `REFUSALS_PER_S` times a second, so that a client that
    repeats refused requests as fast as they are answered leaves the processor to others. Each front door has one.
    """

    def __init__(self, settings: Settings) -> None:
        self._every_s = 1 / settings.refusals_per_s
        self._wait_max_s = settings.refusal_wait_max_s
        self._next_at: dict[str, float] = {}
        """By account, the time at which its next refusal is due at an even pace, in seconds of the monotonic clock."""

    async def keep(self, account_id: str) -> None:
        """Wait until the account may be given another refusal, at most `REFUSAL_WAIT_MAX_S`."""
        now = time.monotonic()
        due_at = max(self._next_at.get(account_id, 0.0), now - BURST_S)
        wait_s = min(max(due_at - now, 0.0), self._wait_max_s)
        if len(self._next_at) >= ACCOUNTS_MAX:
            self._next_at = {owner: at for owner, at in self._next_at.items() if at > now - BURST_S}
        self._next_at[account_id] = min(due_at, now + self._wait_max_s) + self._every_s
        await asyncio.sleep(wait_s)
