"""Every wait for a vendor has an end: idle between two pieces, and in all."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import TypeVar

from shared.errors import ProviderTimeout

T = TypeVar("T")


async def bounded(pieces: AsyncGenerator[T, None], *, idle_s: float | None, total_s: float) -> AsyncGenerator[T, None]:
    """The same pieces. Raises `ProviderTimeout` after `idle_s` without one or `total_s` in all.

    A piece is an event that says something: keep-alive comments are none, so they cannot hold the limit open. Whatever
    ends this, the vendor's connection is closed.
    """
    loop = asyncio.get_running_loop()
    ends_at = loop.time() + total_s
    async with aclosing(pieces):
        while True:
            now = loop.time()
            until = ends_at if idle_s is None else min(now + idle_s, ends_at)
            try:
                async with asyncio.timeout_at(until):
                    piece = await anext(pieces)
            except StopAsyncIteration:
                return
            except TimeoutError:
                waited = "within the request's deadline" if until >= ends_at else f"for {idle_s:g} s"
                raise ProviderTimeout(
                    f"The vendor did not answer {waited}: try again, or ask for a shorter answer."
                ) from None
            yield piece
