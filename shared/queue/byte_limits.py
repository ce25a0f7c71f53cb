"""Limits in bytes of a queue, and of what is kept of ended requests."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Self

if TYPE_CHECKING:
    from shared.settings import Settings

MB = 1_000_000


class ByteLimits(NamedTuple):
    """Limits of one queue and of what is kept, in bytes unless named otherwise.

    `queue`: payloads of one queue that wait or run. Small payloads, of at most `small` bytes each, also have `reserve`. A
    fuller queue takes payloads only from accounts below their share, up to twice `queue`; the last `newcomers` bytes of
    that are for accounts with nothing large in the queue. `asked`: a payload up to this size is kept for a while after its
    request has ended. `kept`: all that is kept of ended requests. A journal that had a reader is not deleted for lack of
    room within `readers_ms` after its end or its reader's last look, unless everything together exceeds twice `kept`, or
    three times `kept` if the journal is small.
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
        """The limits that the settings give."""
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
    """The instructions for `append.lua` to end a job with its request's last event: the job leaves `queue`, and what is
    known about it is kept for `keep_ms`, the payload too if it has at most `asked` bytes. The other fields are as in
    `ByteLimits`.
    """

    queue: str
    keep_ms: int
    asked: int
    kept: int
    readers_ms: int

    def words(self, journal_bytes: int, *, was_settled: bool) -> str:
        """The arguments of `append.lua`. The messages are kept only for a settled request that was charged: nobody
        needs to see others again.
        """
        kept = self._replace(asked=self.asked if was_settled else 0)
        return " ".join(map(str, (*kept, journal_bytes)))
