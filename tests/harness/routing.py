"""Ways to vendors that stand in a test's own process."""

from __future__ import annotations

from typing import Any

from shared.catalogue.upstreams import Upstreams
from workers.providers.loading import Held
from workers.providers.protocol import Provider
from workers.upstreams.paces import Paces
from workers.upstreams.routes import Routes


def routes_to(vendor: Provider, *apis: str, provider: str = "openai", paces: Paces | None = None) -> Routes:
    """The one upstream of a provider, as it is without rows; nothing is learned unless `paces` are given."""
    unpaced: Any = Unpaced()
    return Routes(Held({provider: dict.fromkeys(apis, vendor)}), Upstreams(), paces or unpaced)


class Unpaced:
    """In the place of `Paces`: notes nothing."""

    def known(self, _: str) -> int:
        return 1

    def succeeded(self, _: str) -> None:
        pass

    async def throttled(self, *_: object) -> None:
        pass

    async def used_up(self, *_: object) -> None:
        pass
