"""The receipt of a request: the terms of its admission, and its charge."""

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
    """Prices in USD per million tokens, as decimal strings."""

    input_usd_per_mtok: UsdText
    """The price of ordinary input, in USD per million tokens."""
    output_usd_per_mtok: UsdText
    """The price of output, reasoning included, in USD per million tokens."""
    cached_input_usd_per_mtok: UsdText | None
    """The price of input that is read from the vendor's cache, in USD per million tokens; null if it is that of
    ordinary input.
    """
    cache_write_usd_per_mtok: UsdText | None
    """The price of input that is written to the vendor's cache, in USD per million tokens; null if it is that of
    ordinary input.
    """
    cache_write_long_usd_per_mtok: UsdText | None
    """The price of input that is written to a cache which keeps it for an hour or more, in USD per million tokens; null
    if it is that of other cache writes.
    """


class ReceiptLongContext(ReceiptRates, frozen=True, kw_only=True):
    """The prices of all tokens of a request that had more than `above_tokens` of input."""

    above_tokens: int
    """The prices above hold for a request with more input tokens than this."""


class ReceiptModel(msgspec.Struct, frozen=True, kw_only=True):
    """A model of the request's chain."""

    model: str
    """The model's public name."""
    outcome: str | None
    """`succeeded`, the code of its error, or `not_tried`; null until the request is settled."""
    attempts: int
    """The number of calls of the model's vendor."""


class Receipt(ReceiptRates, frozen=True, kw_only=True):
    """The terms on which the request was admitted, and its charge. Until the request's `ended_at` is set, which may be
    a moment after the answer, `attempts` is 0 and the fields that only the settlement knows are null.
    """

    price_version: str
    """The version of the catalogue at the moment of admission, whose prices these are."""
    long_context: ReceiptLongContext | None
    """The prices for a request with long input; null if they are the same."""
    output_limit: int
    """The most output tokens that were allowed."""
    tokens_input: int | None
    """Billed input tokens, cached and written ones among them; null until settled."""
    tokens_cached: int | None
    """The part of `tokens_input` that was read from the vendor's cache; null until settled."""
    tokens_cache_written: int | None
    """The part of `tokens_input` that was written to the vendor's cache; null until settled."""
    tokens_cache_written_long: int | None
    """The part of `tokens_cache_written` that is kept for an hour or more; null until settled."""
    tokens_output: int | None
    """Billed output tokens, reasoning among them; null until settled."""
    tokens_reasoning: int | None
    """The part of `tokens_output` that was reasoning; null until settled."""
    estimated: bool | None
    """True if tokens were estimated, because the vendor did not report them; null until settled."""
    hold_usd: UsdText
    """The USD held when the request was admitted, as a decimal string."""
    charged_usd: UsdText
    """The USD charged, as a decimal string; never more than `hold_usd`."""
    released_usd: UsdText | None
    """The part of `hold_usd` that was not charged and became available again; null until settled."""
    attempts: int
    """The number of calls of vendors for the request."""
    service_tier: ServiceTier
    """The service tier that was asked for, whose prices these are."""
    service_tier_served: str | None
    """The service tier that served the request, as the vendor reports it; null if the vendor reports none."""
    saved_usd: UsdText | None
    """The USD that the tier `flex` has saved, compared with the tier `default`; null if `flex` was not asked for."""
    chain: list[ReceiptModel] | None
    """The models that might have served the request, in order; null if there was only one."""


def receipt_of(logged: LoggedRequest, usage: Usage | None, charged_nano: int, *, ended: bool) -> Receipt:
    """The receipt of a request with this usage and charge, as far as they are known."""
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
