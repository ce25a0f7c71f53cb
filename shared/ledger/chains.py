"""The models that may serve one request, in order, as its row keeps them: pinned when it is admitted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec

from shared.ledger.pinned_price import PinnedPrice, pinned
from shared.money import Writes

if TYPE_CHECKING:
    from shared.catalogue.models import Model


class PinnedModel(PinnedPrice, frozen=True, kw_only=True, omit_defaults=True):
    """One model of a chain. It is held at the prices `hold_…`, where they are above those of plain input and output;
    `output_limit` is what is wanted of it, and once the request is admitted what is granted. Bounds are tokens.
    """

    model: str
    upstream: str
    provider: str
    api: str
    input_bound: int
    output_limit: int
    hold_input_price: int | None = None
    hold_output_price: int | None = None


class Tried(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a model of a chain: `code` is its error's, or `succeeded`; its vendor was called `calls` times."""

    model: str
    code: str
    calls: int


def pinned_model(model: Model, input_bound: int, writes: Writes, output_limit: int) -> PinnedModel:
    """The model at its present price, for at most so much input, of which the vendor may write to its cache."""
    return PinnedModel(
        model=model.name,
        upstream=model.upstream,
        provider=model.provider,
        api=model.api,
        input_bound=input_bound,
        output_limit=output_limit,
        **pinned(model.price, model.price_version, input_bound, writes),
    )


def not_asked(one: PinnedModel) -> PinnedModel:
    """The same for one that is not asked at all, so that nothing is held for it."""
    return msgspec.structs.replace(one, input_bound=0, output_limit=0)


_decoder = msgspec.json.Decoder(tuple[PinnedModel, ...])


def chain_from_json(text: str) -> tuple[PinnedModel, ...]:
    """As the row of a request has it."""
    return _decoder.decode(text)


def dearest(chain: Sequence[PinnedModel]) -> PinnedModel:
    """The one whose bound decides what is held."""
    return max(chain, key=_bound)


def _bound(one: PinnedModel) -> int:
    input_price = max(one.input_price, one.hold_input_price or 0)
    output_price = max(one.output_price, one.hold_output_price or 0)
    return one.input_bound * input_price + one.output_limit * output_price
