"""Calls an upstream once if an operator asks, to check its key, its address and its vendor."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING

import structlog

from shared.chat import Message, Sampling
from shared.errors import RebootError
from shared.ids import new_id
from shared.queue.upstream_rows import WELL, asked_checks, tell_check
from workers.providers.protocol import ProviderRequest
from workers.providers.wire.vendor_errors import timed_out

if TYPE_CHECKING:
    import redis.asyncio

    from shared.catalogue.models import Model
    from workers.upstreams.routes import Route, Routes

log = structlog.get_logger(__name__)
CHECK_S = 30.0
OUTPUT_LIMIT = 16
"""Output tokens of a check; some models refuse a smaller limit."""
NO_TALK = "openai-realtime"


class Checks:
    """Makes checks. Call `look` at intervals."""

    def __init__(self, client: redis.asyncio.Redis, routes: Routes, models: Sequence[Model]) -> None:
        self._client = client
        self._routes = routes
        self._cheapest: dict[str, Model] = {}
        for model in sorted(models, key=lambda model: model.vendor_price.output, reverse=True):
            if model.api != NO_TALK:
                self._cheapest.update({route.name: model for route in routes.of(model)})

    async def look(self) -> None:
        """Make the checks that were asked for. Raises redis-py's errors."""
        for name, token in await asked_checks(self._client, list(self._cheapest)):
            model = self._cheapest[name]
            route = next((one for one in self._routes.of(model) if one.name == name), None)
            await (
                self._routes.states.exchange()
            )  # an outcome counts only for the term in which its call began, and that must be the present one
            outcome = await self._call(route) if route else "its key is not there any more"
            await self._routes.states.exchange()  # the operator then sees the state after the call
            log.info("upstream checked", upstream=name, model=model.name, outcome=outcome)
            await tell_check(self._client, name, token, outcome)

    async def _call(self, route: Route) -> str:
        request = ProviderRequest(
            id=new_id("req"),
            model=route.model,
            messages=[Message("user", "ping")],
            sampling=Sampling(),
            output_limit=OUTPUT_LIMIT,
            stream=False,
        )
        with self._routes.call(route) as call:
            try:
                async with asyncio.timeout(CHECK_S), aclosing(route.provider.stream(request)) as pieces:
                    async for _ in pieces:
                        pass
            except TimeoutError:
                await call.failed(timed_out())
                return f"no answer within {CHECK_S:g} s"
            except RebootError as error:
                await call.failed(error)
                return error.message
            call.succeeded("checked")
            return WELL
