"""Ways to vendors that stand in a test's own process."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from shared.catalogue.upstreams import Upstream, Upstreams
from workers.providers.loading import Apis, LoadedApis
from workers.providers.protocol import Provider
from workers.upstreams.paces import Paces
from workers.upstreams.routes import Routes
from workers.upstreams.states import States


def routes_to(vendor: Provider, *apis: str, provider: str = "openai", paces: Paces | None = None) -> Routes:
    """The one upstream of a provider, as it is without rows; nothing is learned unless `paces` are given."""
    return routes_by({provider: dict.fromkeys(apis, vendor)}, paces=paces)


def routes_by(held: Mapping[str, Apis], *rows: Upstream, paces: Paces | None = None) -> Routes:
    """The same for several upstreams, of which nobody hears how they are."""
    unpaced: Any = Unpaced()
    nobody: Any = None
    return Routes(LoadedApis(held), Upstreams(rows), paces or unpaced, States(list(held), nobody))


class Unpaced:
    """In the place of `Paces`: notes nothing."""

    def known(self, _: str) -> int:
        return 1

    def succeeded(self, *_: object) -> None:
        pass

    def is_in_turn(self, _: str) -> bool:
        return False

    async def throttled(self, *_: object, is_repeat: bool) -> bool:
        return not is_repeat

    async def used_up(self, *_: object) -> None:
        pass
