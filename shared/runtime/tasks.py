"""Background tasks that live exactly as long as the block that owns them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class _BlockEndedError(Exception):
    """Ends a task group from within."""


@asynccontextmanager
async def background_tasks() -> AsyncIterator[asyncio.TaskGroup]:
    """A task group whose tasks are cancelled when the block ends; a task that fails ends the block with its error."""
    try:
        async with asyncio.TaskGroup() as group:
            yield group
            raise _BlockEndedError  # noqa: TRY301 - the documented way to end a task group
    except* _BlockEndedError:
        pass
