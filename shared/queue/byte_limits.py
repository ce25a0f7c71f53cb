"""How many bytes a queue may hold, and how many are kept of requests that have ended."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Self

if TYPE_CHECKING:
    from shared.settings import Settings

MB = 1_000_000


class ByteLimits(NamedTuple):
    """`queue`: payloads of one queue that wait or run. Beside them small ones, of at most `small` each, have `reserve`. A
    fuller queue takes from accounts below their share, up to twice as much; the last `newcomers` bytes of that are for
    accounts that have nothing large in it.

    `asked`: a payload up to this is kept for a while when its request has ended. `kept`: all that is kept of such requests. A
    journal is not taken for that within `readers_ms` after its end, when it had a reader, or after a reader's last look,
    unless all has grown to twice `kept`, or to three times where the journal is a small one.
    """

    queue: int = 256 * MB
    reserve: int = 64 * MB
    newcomers: int = 128 * MB
    small: int = 65_536
    asked: int = 65_536
    kept: int = 256 * MB
    readers_ms: int = 120_000

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """As the process was told."""
        return cls(
            queue=settings.queue_bytes_max,
            reserve=settings.queue_reserve_bytes,
            newcomers=settings.queue_newcomers_bytes,
            small=settings.small_payload_bytes_max,
            asked=settings.asked_bytes_max,
            kept=settings.kept_bytes_max,
            readers_ms=int(settings.kept_for_readers_s * 1000),
        )


USUAL = ByteLimits()


class Ending(NamedTuple):
    """How a job ends together with its request's last event: it leaves `queue`, and what is known of it is kept for
    `keep_ms`; its payload too, if that is at most `asked` bytes. The rest as in `ByteLimits`.
    """

    queue: str
    keep_ms: int
    asked: int
    kept: int
    readers_ms: int

    def words(self, journal_bytes: int, *, was_settled: bool) -> str:
        """For `append.lua`. What was asked is kept where it was paid for: nobody needs to see it again else."""
        kept = self._replace(asked=self.asked if was_settled else 0)
        return " ".join(map(str, (*kept, journal_bytes)))
