"""The receipt of a request: what was promised when it was admitted, and what was taken."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import msgspec

from shared.catalogue.listing import rates_as
from shared.lanes import ServiceTier
from shared.money import LongContext, Usage, UsdText, nano_to_usd

if TYPE_CHECKING:
    from api.requests.log import LoggedRequest


class ReceiptRates(msgspec.Struct, frozen=True, kw_only=True):
    """USD per million tokens as decimal strings. What is null costs what ordinary input costs, and `cache_write_long` (tokens
    written to a cache that keeps them longer) what other written tokens cost.
    """

    input_usd_per_mtok: UsdText
    output_usd_per_mtok: UsdText
    cached_input_usd_per_mtok: UsdText | None
    cache_write_usd_per_mtok: UsdText | None
    cache_write_long_usd_per_mtok: UsdText | None


class ReceiptLongContext(ReceiptRates, frozen=True, kw_only=True):
    """What counts for all tokens where there were more than `above_tokens` of input."""

    above_tokens: int
    """From how many tokens of input on."""


class ReceiptModel(msgspec.Struct, frozen=True, kw_only=True):
    """A model that might serve the request. `outcome` is `succeeded`, the code of the error with which it failed, or
    `not_tried`. `attempts` counts the calls of its vendor. Until the request is settled, a moment after its answer,
    `outcome` is null and `attempts` 0.
    """

    model: str
    """Its public name."""
    outcome: str | None
    """`succeeded`, the code of its error, or `not_tried`; null until the request is settled."""
    attempts: int
    """How often its vendor was called."""


class Receipt(ReceiptRates, frozen=True, kw_only=True):
    """What was promised and what was taken. Prices are those of the moment of admission, tokens are as billed. Parts of
    `tokens_input` are `tokens_cached` and `tokens_cache_written`, of which `tokens_cache_written_long` is a part;
    `tokens_reasoning` is a part of `tokens_output`. `service_tier` is the tier that was asked for, whose prices these are,
    `service_tier_served` what the vendor says of it; `saved_usd` is what the same tokens would have cost more without.
    `chain` are the models that might serve it, in order, where there are several; the prices are of the one that served.
    A request whose `ended_at` is null is not settled yet, also for a moment after its answer: `attempts` is 0 until then, and
    what only the settlement says is null.
    """

    price_version: str
    long_context: ReceiptLongContext | None
    output_limit: int
    tokens_input: int | None
    tokens_cached: int | None
    tokens_cache_written: int | None
    tokens_cache_written_long: int | None
    tokens_output: int | None
    tokens_reasoning: int | None
    estimated: bool | None
    hold_usd: UsdText
    charged_usd: UsdText
    released_usd: UsdText | None
    attempts: int
    service_tier: ServiceTier
    service_tier_served: str | None
    saved_usd: UsdText | None
    chain: list[ReceiptModel] | None


def receipt_of(logged: LoggedRequest, usage: Usage | None, charged_nano: int, *, ended: bool) -> Receipt:
    """Of a request that used and was charged so much, as far as that is known."""
    price = logged.price
    return Receipt(
        price_version=logged.price_version,
        **rates_as(nano_to_usd, price),
        long_context=_long_context(price.long_context),
        output_limit=logged.output_limit,
        tokens_input=usage.input if usage else None,
        tokens_cached=usage.cached if usage else None,
        tokens_cache_written=usage.written if usage else None,
        tokens_cache_written_long=usage.written_long if usage else None,
        tokens_output=usage.output if usage else None,
        tokens_reasoning=usage.reasoning if usage else None,
        estimated=usage.estimated if usage else None,
        hold_usd=nano_to_usd(logged.hold_nano),
        charged_usd=nano_to_usd(charged_nano),
        released_usd=nano_to_usd(logged.hold_nano - charged_nano) if ended else None,
        attempts=logged.attempts,
        service_tier="flex" if logged.lane == "flex" else "default",
        service_tier_served=logged.served_tier,
        saved_usd=None if logged.saved_nano is None else nano_to_usd(logged.saved_nano),
        chain=None if logged.chain is None else [*_chain(logged)],
    )


def _chain(logged: LoggedRequest) -> Iterator[ReceiptModel]:
    tried = {one.model: one for one in logged.tried or ()}
    otherwise = None if logged.state == "pending" else "not_tried"
    for one in logged.chain or ():
        what = tried.get(one.model)
        yield ReceiptModel(
            model=one.model, outcome=what.code if what else otherwise, attempts=what.calls if what else 0
        )


def _long_context(long: LongContext | None) -> ReceiptLongContext | None:
    return None if long is None else ReceiptLongContext(**rates_as(nano_to_usd, long), above_tokens=long.above)
