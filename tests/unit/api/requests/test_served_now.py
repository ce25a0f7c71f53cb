"""Which model of a chain is asked first, and what a caller is told when none of it can be, as workers and upstreams are."""

from __future__ import annotations

from typing import Any

import pytest

from api.requests.directory import Directory
from api.requests.fallbacks import Chain, ChainModel, served_now
from api.requests.upstream_watch import UpstreamWatch
from shared.catalogue.models import Model
from shared.catalogue.upstreams import Upstreams
from shared.chat import Sampling
from shared.errors import OperatorCredentials, Overloaded, ProviderBusy, ProviderNotConfigured, RebootError
from shared.queue.heartbeat import Heartbeat
from shared.queue.upstreams import Known, UpstreamReport, UpstreamState
from shared.settings import Settings
from shared.stores import keys
from tests.harness.builders import a_model

FIRST, SECOND = a_model(name="first", provider="openai"), a_model(name="second", provider="deepseek")
SETTINGS = Settings(database_url="", redis_url="", upstream_wait_s=5, worker_missing_s=0)
QUEUES = {model.provider: keys.queue(model.provider, "interactive") for model in (FIRST, SECOND)}
STATES = {
    "well": UpstreamState(name="x"),
    "opens soon": UpstreamState(name="x", state="open", reason="failures", wait_s=2),
    "open": UpstreamState(name="x", state="open", reason="failures", wait_s=60),
    "refused": UpstreamState(name="x", state="open", reason="credentials", wait_s=60),
    "credit used up": UpstreamState(name="x", state="open", reason="credit", wait_s=60),
}


class Shared:
    """In the place of Redis: each provider's one upstream is as it is told."""

    def __init__(self, **states: str) -> None:
        self._states = states

    async def exchange(self, told: list[UpstreamReport]) -> Known:
        known = {one.name: STATES.get(self._states[one.name], STATES["well"]) for one in told}
        return Known(known, {})


async def _directory(**of: str) -> Directory:
    """`of` each provider, how it is: a state of its upstream, or that it is paused, drained, without a key or without a
    worker.
    """
    told: Any = {
        "claims": tuple(QUEUES[name] for name, how in of.items() if how not in {"no key", "no worker"}),
        "paused": tuple(name for name, how in of.items() if how == "paused"),
        "drained": tuple(name for name, how in of.items() if how == "drained"),
    }
    queues = tuple(QUEUES[name] for name, how in of.items() if how != "no worker")
    services = (FIRST.service, SECOND.service)
    upstreams = dict.fromkeys(of, "row")
    worker = Heartbeat(id="w", queues=queues, services=services, slots=1, running=0, upstreams=upstreams, **told)
    shared: Any = Shared(**of)
    nobody: Any = None
    watch = UpstreamWatch(shared, Upstreams())
    directory = Directory(nobody, watch, SETTINGS)
    directory.workers = [worker]
    await watch.read([worker])
    return directory


def _fitted(model: Model) -> ChainModel:
    return ChainModel(name=model.name, model=model, sampling=Sampling(), input_bound=1, writes="none", ignored=())


def _interactive(_: Model) -> str:
    return "interactive"


PAIR = Chain((_fitted(FIRST), _fitted(SECOND)))


@pytest.mark.parametrize(
    ("openai", "deepseek", "first", "passed"),
    [
        ("well", "well", "first", []),
        ("opens soon", "well", "first", []),
        ("open", "well", "second", ["provider_busy"]),
        ("refused", "well", "second", ["provider_error"]),
        ("credit used up", "well", "second", ["provider_error"]),
        ("drained", "well", "second", ["provider_busy"]),
        ("paused", "well", "second", ["overloaded"]),
        ("no key", "well", "second", ["provider_not_configured"]),
        ("no worker", "well", "second", ["overloaded"]),
        ("well", "paused", "first", []),
    ],
)
async def test_a_model_that_cannot_be_had_now_is_passed(
    openai: str, deepseek: str, first: str, passed: list[str]
) -> None:
    chain = served_now(PAIR, await _directory(openai=openai, deepseek=deepseek), _interactive)
    assert (chain.next.name, [one.code for one in chain.passed]) == (first, passed)
    assert ("second" in chain.absent) == (deepseek != "well")


@pytest.mark.parametrize(
    ("openai", "deepseek", "kind"),
    [
        ("open", "open", ProviderBusy),
        ("open", "refused", ProviderBusy),
        ("refused", "open", OperatorCredentials),
        ("credit used up", "open", OperatorCredentials),
        ("drained", "open", ProviderBusy),
        ("no key", "open", ProviderNotConfigured),
        ("paused", "open", Overloaded),
        ("paused", "paused", Overloaded),
    ],
)
async def test_when_none_can_be_had_the_first_ones_error_is_told(
    openai: str, deepseek: str, kind: type[RebootError]
) -> None:
    directory = await _directory(openai=openai, deepseek=deepseek)
    with pytest.raises(RebootError) as told:
        served_now(PAIR, directory, _interactive)
    assert isinstance(told.value, kind)
    assert (told.value.body().status, bool(told.value.retry_after_s)) == (kind.status, kind is not OperatorCredentials)


@pytest.mark.parametrize(
    ("openai", "first"),
    [("paused", "first"), ("open", "first"), ("refused", "first"), ("no worker", "first"), ("no key", "second")],
)
async def test_what_waits_is_asked_of_the_first_one_that_may_be_served_later(openai: str, first: str) -> None:
    chain = served_now(PAIR, await _directory(openai=openai, deepseek="well"), _interactive, waits=True)
    assert chain.next.name == first
