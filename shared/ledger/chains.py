"""The models that may serve one request, in order, as the request's row has them. They are fixed at admission."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec

from shared.ledger.pinned_price import PinnedPrice, pinned
from shared.money import Writes

if TYPE_CHECKING:
    from shared.catalogue.models import Model


class PinnedModel(PinnedPrice, frozen=True, kw_only=True, omit_defaults=True):
    """One model of a chain. The hold uses the prices `hold_…` if they are higher than those of plain input and output.
    `output_limit` is the wanted limit, and after admission the granted one. Limits are tokens. `vendor_model` is the
    vendor's id of the model.
    """

    model: str
    vendor_model: str = msgspec.field(name="upstream")
    provider: str
    api: str
    input_bound: int
    output_limit: int
    hold_input_price: int | None = None
    hold_output_price: int | None = None


class Tried(msgspec.Struct, frozen=True, kw_only=True):
    """The outcome of one model of a chain: `code` is `succeeded` or the error's code, `calls` counts the calls of its
    vendor.
    """

    model: str
    code: str
    calls: int


def pinned_model(model: Model, input_bound: int, writes: Writes, output_limit: int) -> PinnedModel:
    """The model at its present price, for at most `input_bound` tokens of input. `writes` says how much of them the
    vendor may write to its cache.
    """
    return PinnedModel(
        model=model.name,
        vendor_model=model.vendor_model,
        provider=model.provider,
        api=model.api,
        input_bound=input_bound,
        output_limit=output_limit,
        **pinned(model.price, model.price_version, input_bound, writes),
    )


def not_asked(one: PinnedModel) -> PinnedModel:
    """The same model with no tokens at all. It stands for a model that will not be called: nothing is held for it."""
    return msgspec.structs.replace(one, input_bound=0, output_limit=0)


_decoder = msgspec.json.Decoder(tuple[PinnedModel, ...])


def chain_from_json(text: str) -> tuple[PinnedModel, ...]:
    """Decode the chain from a request's row."""
    return _decoder.decode(text)


def dearest(chain: Sequence[PinnedModel]) -> PinnedModel:
    """The model with the highest bound, which decides the hold."""
    return max(chain, key=_bound)


def _bound(one: PinnedModel) -> int:
    input_price = max(one.input_price, one.hold_input_price or 0)
    output_price = max(one.output_price, one.hold_output_price or 0)
    return one.input_bound * input_price + one.output_limit * output_price
