"""The rate-limit headers of a key with a request limit, on every answer that counts."""

from __future__ import annotations

from aiohttp import web

from api.http.state import RATE_HEADERS


def tell_limit(request: web.Request, rpm: int) -> None:
    """Tell the caller the key's limit, in requests per minute."""
    request[RATE_HEADERS] = {"x-ratelimit-limit-requests": str(rpm)}


def tell_remaining(request: web.Request, remaining: int, reset_s: float) -> None:
    """Tell the caller how many requests the key may still make, and in how many seconds its limit is full again."""
    request[RATE_HEADERS] |= {
        "x-ratelimit-remaining-requests": str(remaining),
        "x-ratelimit-reset-requests": f"{reset_s:.3f}s",
    }
