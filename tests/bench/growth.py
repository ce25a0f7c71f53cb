"""How cost grows."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from tests.bench.targets import Bench

FIGURES: dict[str, Callable[[Bench], Awaitable[None]]] = {}


async def run(bench: Bench, what: Sequence[str]) -> int:
    """All, or those named."""
    for name in what or FIGURES:
        await FIGURES[name](bench)
    return 0
