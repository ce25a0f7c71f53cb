"""The service tier flex: asked for where the model is at that tier, and what the vendor says of it."""

from __future__ import annotations

import itertools
from contextlib import aclosing
from typing import NamedTuple

import pytest

from deploy.simulator.gemini.models import MODELS as GEMINI
from deploy.simulator.openai.models import MODELS as OPENAI
from shared.catalogue.models import Model
from shared.chat import Message, Sampling
from shared.errors import ProviderBusy, RebootError
from tests.conformance.cases import CATALOGUE, Vendors
from workers.providers.protocol import Finished, Piece, ProviderRequest, ServedAt

MODELS = ("openai-gpt-5.5", "google-gemini-3.8-flash")
_keys = itertools.count(1)
over_models = pytest.mark.parametrize("name", MODELS)
over_forms = pytest.mark.parametrize("stream", [True, False], ids=["stream", "json"])


class Got(NamedTuple):
    """The tiers that were told, and the vendor's own."""

    told: list[str]
    served: str
    finished: bool


async def _asked(vendors: Vendors, model: Model, directive: str, *, stream: bool) -> Got:
    key = f"flex-{next(_keys)}"
    asked = ProviderRequest(
        id="req_test",
        model=model,
        messages=[Message("user", f"[[sim tokens=3 key={key} {directive}]]")],
        sampling=Sampling(),
        output_limit=100,
        stream=stream,
    )
    async with aclosing(vendors.pieces(asked)) as pieces:
        came: list[Piece] = [piece async for piece in pieces]
    (call,) = vendors.simulator.calls.find(key)
    told = [piece.tier for piece in came if isinstance(piece, ServedAt)]
    return Got(told, call.tier, isinstance(came[-1], Finished))


def _at_flex(name: str) -> Model:
    model = CATALOGUE.at_tier(CATALOGUE.find(name), "flex")
    assert model is not None
    return model


@over_models
@over_forms
async def test_the_tier_that_serves_is_told_once(vendors: Vendors, name: str, *, stream: bool) -> None:
    assert await _asked(vendors, _at_flex(name), "", stream=stream) == (["flex"], "flex", True)
    dearer = await _asked(vendors, _at_flex(name), "served=default", stream=stream)
    assert dearer == (["default"], "default", True)


@over_models
@over_forms
async def test_an_ordinary_call_asks_for_no_tier_and_tells_none(vendors: Vendors, name: str, *, stream: bool) -> None:
    assert await _asked(vendors, CATALOGUE.find(name), "served=flex", stream=stream) == ([], "default", True)


@over_models
async def test_missing_capacity_is_a_vendor_that_is_busy(vendors: Vendors, name: str) -> None:
    with pytest.raises(RebootError) as refused:
        await _asked(vendors, _at_flex(name), "full=1", stream=True)
    assert isinstance(refused.value, ProviderBusy)


def test_the_simulator_serves_what_the_catalogue_sells() -> None:
    """As its tables say, which were read apart from the catalogue's prices."""
    known = {name: model.flex for name, model in OPENAI.items()} | {name: model.flex for name, model in GEMINI.items()}
    sold = {model.vendor_model: CATALOGUE.at_tier(model, "flex") is not None for model in CATALOGUE}
    apis = {model.vendor_model for model in CATALOGUE if model.api in {"openai-chat", "gemini"}}
    assert {name: known[name] for name in apis} == {name: sold[name] for name in apis}
