"""Authentication by API key: each process looks a key up at most once per `AUTH_CACHE_S`."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import asyncpg

from shared import clock
from shared.errors import InvalidApiKey, PermissionDenied, Unavailable
from shared.ledger.api_keys import HINT, ApiKey, find_key, split_key
from shared.newest import keep_newest
from shared.runtime.metrics import STAGE_SECONDS
from shared.stores.postgres import BUSY, UNREACHABLE, KeptSession

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from shared.settings import Settings


class Authenticator:
    """Finds keys by their id and caches them for at most a second, so that a revocation takes effect within that time
    without any broadcast. Unknown ids are cached too, so that guessing costs the database nothing. The cache is bounded.
    """

    def __init__(self, pool: asyncpg.Pool, settings: Settings, distrust: Callable[[], Awaitable[None]]) -> None:
        """`distrust` is called if Postgres does not answer, so that no other task waits for a dead connection."""
        self._pool = pool
        self._distrust = distrust
        self._live_s = settings.auth_cache_s
        self._cache_max = settings.auth_cache_max
        self._cache: dict[str, tuple[float, ApiKey | None]] = {}
        self._lookups: dict[str, asyncio.Task[ApiKey | None]] = {}

    async def authenticate(self, headers: Mapping[str, str], scope: str) -> ApiKey:
        """The caller's key. Raises `InvalidApiKey`, `PermissionDenied` if it lacks `scope`, or `Unavailable`."""
        key = await self.proved(*split_key(_key_in(headers)))
        if scope not in key.scopes:
            raise PermissionDenied(
                f"This API key lacks the scope `{scope}`: use another one, or create one that has it."
            )
        return key

    async def proved(self, key_id: str, secret: str) -> ApiKey:
        """The key with this id, if the secret is right. Raises `InvalidApiKey` or `Unavailable`."""
        with STAGE_SECONDS.labels("authenticate").time():
            key = await self._key(key_id)
        if key is None or not key.proves(secret):
            raise InvalidApiKey(f"Unknown API key: {HINT}.")
        _require_usable(key)
        return key

    async def require_still(self, key: ApiKey) -> None:
        """Raise `InvalidApiKey` if the key has ended since it was authenticated, for example while a body arrived."""
        _require_usable(await self._key(key.id))

    async def _key(self, key_id: str) -> ApiKey | None:
        until, key = self._cache.get(key_id, (0.0, None))
        if until > time.monotonic():
            return key
        lookup = self._lookups.get(key_id)
        if lookup is None:
            lookup = self._lookups[key_id] = asyncio.create_task(self._look_up(key_id))
            lookup.add_done_callback(lambda _: self._lookups.pop(key_id, None))
        return await asyncio.shield(lookup)

    async def _look_up(self, key_id: str) -> ApiKey | None:
        asked_at = time.monotonic()
        session = KeptSession(self._pool)
        try:
            key = await find_key(session, key_id)
        except (*UNREACHABLE, *BUSY) as error:
            if isinstance(error, UNREACHABLE):
                await self._distrust()
            raise Unavailable("Keys cannot be checked now: try again shortly.") from error
        finally:
            await session.release()
        keep_newest(self._cache, key_id, (asked_at + self._live_s, key), self._cache_max)
        return key


def _require_usable(key: ApiKey | None) -> None:
    if key is None or not key.usable(clock.utc_now()):
        raise InvalidApiKey("This API key is revoked or has expired: use another one.")


def _key_in(headers: Mapping[str, str]) -> str:
    """The key from `Authorization: Bearer`, otherwise from `x-api-key`, which Anthropic's clients send."""
    kind, _, text = headers.get("Authorization", "").partition(" ")
    key = text.strip() if kind.lower() == "bearer" else ""
    key = key or headers.get("x-api-key", "").strip()
    if not key:
        raise InvalidApiKey(f"No API key: {HINT}.")
    return key
