"""Authentication of operators: a token is looked up at each request, so that a revocation takes effect at once."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING

import structlog

from shared import clock, tokens
from shared.errors import InvalidApiKey, PermissionDenied, RateLimited
from shared.newest import keep_newest
from shared.operators.operators import HINT, Scope, Token, find_token, split_token
from shared.stores.postgres import reached

if TYPE_CHECKING:
    import asyncpg
    from aiohttp import web

    from shared.settings import Settings

log = structlog.get_logger(__name__)
WINDOW_S = 60.0
ADDRESSES_MAX = 10_000


class OperatorAuth:
    """Authenticates operators and slows down guessing. A secret has 190 random bits, so guessing is hopeless. After a
    number of wrong tokens an address is told to wait, and operators are alerted. Tokens that have not been valid here
    before are looked up one at a time, so that guesses use only one database connection. A valid token passes whatever
    others at the same address do.
    """

    def __init__(self, pool: asyncpg.Pool, settings: Settings) -> None:
        self._pool = pool
        self._guesses_max = settings.operator_guesses_max
        self._guesses: dict[str, tuple[float, int]] = {}
        """By address, the time of its first wrong token and the number of its wrong tokens."""
        self._good: set[str] = set()
        self._lane = asyncio.Lock()

    async def authenticate(self, request: web.Request, address: str | None, scope: Scope) -> tuple[Token, str]:
        """The caller's token with its secret. Raises `InvalidApiKey`, `RateLimited` if the address has guessed too often,
        `PermissionDenied` that names the missing scope, or `Unavailable`.
        """
        whose = address or ""
        try:
            token_id, secret = split_token(_bearer(request))
            async with contextlib.nullcontext() if token_id in self._good else self._lane:
                token = await self._proved(token_id, secret)
        except InvalidApiKey:
            self._count(whose)
            raise
        if scope not in token.scopes:
            raise PermissionDenied(
                f"This token lacks the scope `{scope}`: `rebootml operator token NAME --scope {scope}` makes one that has it."
            )
        return token, secret

    async def _proved(self, token_id: str, secret: str) -> Token:
        async with reached("Operators' tokens"):
            token = await find_token(self._pool, token_id)
        if token is None or not tokens.proves(secret, token.secret_sha256):
            raise InvalidApiKey(f"Unknown token: {HINT}.")
        if not token.usable(clock.utc_now()):
            self._good.discard(token_id)
            raise InvalidApiKey("This token is revoked or has expired: use another one.")
        self._good.add(token_id)
        return token

    def _count(self, whose: str) -> None:
        """Count a wrong token. Raises `RateLimited` if there are too many."""
        now = time.monotonic()
        since, count = self._guesses.get(whose, (now, 0))
        since, count = (since, count + 1) if since + WINDOW_S > now else (now, 1)
        keep_newest(self._guesses, whose, (since, count), ADDRESSES_MAX)
        if count == self._guesses_max + 1:
            log.warning("operators' tokens are guessed", address=whose, guesses=count, alert=True)
        if count > self._guesses_max:
            wait_s = since + WINDOW_S - now
            raise RateLimited("Too many wrong tokens came from this address: wait.", retry_after_s=wait_s)


def _bearer(request: web.Request) -> str:
    kind, _, text = request.headers.get("Authorization", "").partition(" ")
    if kind.lower() != "bearer" or not text.strip():
        raise InvalidApiKey(f"No token: {HINT}.")
    return text.strip()
