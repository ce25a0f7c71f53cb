"""The vendors' keys of a worker: key files are read again, and clients are created anew with changed keys."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import structlog

from shared.settings import SettingsError
from workers.providers.credentials import environment_of, variables_of

if TYPE_CHECKING:
    from shared.catalogue.upstreams import Upstream, Upstreams
    from shared.secret_files import SecretEnvironment
    from workers.providers.loading import LoadedApis

log = structlog.get_logger(__name__)


def tell_of_missing(upstreams: Iterable[Upstream], known: Upstreams, providers: set[str], held: LoadedApis) -> None:
    """Log which rows of the overlay are not called, because the variables of their keys are not set."""
    rows = [one for one in upstreams if one in known.rows or one.key_variable]
    for row in rows:
        if row.provider in providers and row.name not in held:
            log.warning(
                "upstream not called: its key is not set", upstream=row.name, variable=" or ".join(variables_of(row))
            )


async def _nothing(_: str) -> None:
    """Ignore the change."""


class VendorKeys:
    """Watches the keys. The owner runs `run` as a task: it looks at intervals, and at once after `look_now`. Running
    calls keep their keys, so the old clients are closed when no such call can run any more.
    """

    def __init__(
        self,
        held: LoadedApis,
        environment: SecretEnvironment,
        upstreams: Sequence[Upstream],
        load: Callable[[Mapping[str, str]], LoadedApis],
        *,
        look_every_s: float,
        calls_end_after_s: float,
        on_changed: Callable[[str], Awaitable[None]] = _nothing,
    ) -> None:
        """`held` is replaced in place by what `load` creates from the environment. `on_changed` is awaited with the name of
        each upstream whose key has changed.
        """
        self._held = held
        self._environment = environment
        self._upstreams = upstreams
        self._load = load
        self._look_every_s = look_every_s
        self._calls_end_after_s = calls_end_after_s
        self._on_changed = on_changed
        self._now = asyncio.Event()
        self._told = self._tell()
        self._unreadable = False
        self._closing: set[asyncio.Task[None]] = set()

    def look_now(self) -> None:
        """Look at once, because the keys are said to have changed."""
        self._now.set()

    async def run(self) -> None:
        """Look until cancelled. Without `look_now`, a change counts once two looks have seen it: a key of two files
        changes in two steps.
        """
        seen = self._told
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._look_every_s):
                    await self._now.wait()
            asked = self._now.is_set()
            self._now.clear()
            told = self._read()
            if told != self._told and (asked or told == seen):
                await self._renew(told)
            elif asked:
                log.info("vendor keys are as they were")
            seen = told

    async def close(self) -> None:
        """Close all clients."""
        for task in self._closing:
            task.cancel()
        await asyncio.gather(*self._closing, return_exceptions=True)
        await self._held.close()

    def _read(self) -> list[Mapping[str, str] | None]:
        """The environments of the upstreams; the previous one if a file is empty, which is logged once."""
        try:
            self._environment.read_again()
            told = self._tell()
        except (ValueError, SettingsError) as error:
            if not self._unreadable:
                log.error("vendor keys cannot be read", alert=True, reason=str(error))  # noqa: TRY400 - it says all
            self._unreadable = True
            return self._told
        self._unreadable = False
        return told

    def _tell(self) -> list[Mapping[str, str] | None]:
        return [environment_of(upstream, self._environment) for upstream in self._upstreams]

    async def _renew(self, told: list[Mapping[str, str] | None]) -> None:
        new = self._load(self._environment)
        changed = [one.name for one, now, was in zip(self._upstreams, told, self._told, strict=True) if now != was]
        lost = sorted(self._held.keys() - new.keys())
        before = self._held.replace(new)
        self._told = told
        task = asyncio.ensure_future(self._close_later(before))
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)
        log.info("vendor keys renewed", upstreams=sorted(new), changed=changed, lost=lost)
        for name in changed:
            await self._on_changed(name)

    async def _close_later(self, held: LoadedApis) -> None:
        try:
            await asyncio.sleep(self._calls_end_after_s)
        finally:
            await held.close()
