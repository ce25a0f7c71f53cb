"""The queue's answers to a new job: the rest of the key's rate limit, or the reason for a refusal."""

from __future__ import annotations

from typing import NamedTuple

from shared.errors import Overloaded, RateLimited, RebootError, Unavailable


class QueueFullOfBytes(Overloaded):
    """The payloads of the queue are too large together; a smaller one may still find room."""


class RateState(NamedTuple):
    """The values of the `x-ratelimit-*` headers: what is left of the key's minute, and when all of it is
    available again.
    """

    remaining: int
    reset_s: float


def refusal(outcome: bytes, wait_ms: int) -> RebootError:
    """The error for an outcome of `enqueue.lua` or `rate.lua` other than `ok`."""
    if outcome in {b"late", b"dead"}:
        return Unavailable("The queue took too long to take the request: try again shortly.")
    if outcome == b"rate":
        return RateLimited(
            "This key's request limit is reached: wait as long as Retry-After says.", retry_after_s=wait_ms / 1000
        )
    if outcome == b"bytes":
        return QueueFullOfBytes(
            "The requests that this model's vendor has before it are too large together: try again shortly, or send a smaller"
            " one."
        )
    return Overloaded("Too many requests are waiting for this model's vendor: try again shortly.")
