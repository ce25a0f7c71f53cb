"""Which upstream a call goes to."""

from __future__ import annotations

from collections import Counter
from typing import Any

from shared.catalogue.upstreams import Upstream, Upstreams
from tests.harness.builders import a_model
from tests.harness.routing import Unpaced
from workers.providers.loading import Held
from workers.upstreams.routes import Routes

CALLS = 4_000
MODEL = a_model()
NOBODY: Any = None


class Windows(Unpaced):
    """What is known of each upstream's room."""

    def __init__(self, **limits: int) -> None:
        self._limits = limits

    def known(self, name: str) -> int:
        return self._limits[name.partition("/")[0]]


def _row(name: str, **fields: Any) -> Upstream:
    return Upstream(name=name, provider="openai", **fields)


def _routes(*rows: Upstream, held: str | None = None, **limits: int) -> Routes:
    names = held.split() if held is not None else [row.name for row in rows]
    paces: Any = Windows(**limits) if limits else Unpaced()
    return Routes(Held({name: {MODEL.api: NOBODY} for name in names}), Upstreams(rows), paces)


def _shares(routes: Routes) -> dict[str, float]:
    chosen = Counter(route.name for _ in range(CALLS) if (route := routes.choose(MODEL)))
    return {name: count / CALLS for name, count in chosen.items()}


def test_the_highest_priority_goes_first_and_the_next_only_when_it_was_tried() -> None:
    routes = _routes(_row("a"), _row("b", priority=1))
    first = routes.choose(MODEL)
    assert first is not None
    second = routes.choose(MODEL, {first.name})
    assert second is not None
    assert (first.name, second.name, routes.choose(MODEL, {"a", "b"})) == ("b", "a", None)


def test_what_this_worker_lacks_is_not_chosen() -> None:
    assert [route.name for route in _routes(_row("a"), _row("b"), held="b").of(MODEL)] == ["b"]


def test_each_has_the_share_that_it_takes() -> None:
    shares = _shares(_routes(_row("a"), _row("b"), a=10, b=40))
    assert 0.16 < shares["a"] < 0.24


def test_a_weight_counts_beside_it() -> None:
    shares = _shares(_routes(_row("a", weight=4), _row("b"), a=10, b=40))
    assert 0.46 < shares["a"] < 0.54


def test_what_is_full_waits_for_what_is_not() -> None:
    routes = _routes(_row("a"), _row("b"), a=1, b=1)
    (one, _) = routes.of(MODEL)
    with routes.under_way(one):
        assert _shares(routes) == {"b": 1.0}
    assert set(_shares(routes)) == {"a", "b"}
