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
    """Prices in USD per million tokens, as decimal strings."""

    input_usd_per_mtok: UsdText
    """Ordinary input, USD per million tokens."""
    output_usd_per_mtok: UsdText
    """Output, reasoning among it, USD per million tokens."""
    cached_input_usd_per_mtok: UsdText | None
    """Input read from the vendor's cache, USD per million tokens; null: as ordinary input."""
    cache_write_usd_per_mtok: UsdText | None
    """Input written to the vendor's cache, USD per million tokens; null: as ordinary input."""
    cache_write_long_usd_per_mtok: UsdText | None
    """Input written to a cache that keeps it for an hour or more, USD per million tokens; null: as other writes."""


class ReceiptLongContext(ReceiptRates, frozen=True, kw_only=True):
    """The prices of all tokens of a request that had more than `above_tokens` of input."""

    above_tokens: int
    """More input tokens than this had these prices."""


class ReceiptModel(msgspec.Struct, frozen=True, kw_only=True):
    """A model that might have served the request."""

    model: str
    """The model's public name."""
    outcome: str | None
    """`succeeded`, the code of its error, or `not_tried`; null until the request is settled."""
    attempts: int
    """How often its vendor was called."""


class Receipt(ReceiptRates, frozen=True, kw_only=True):
    """What was promised when the request was admitted, and what was taken. Until `ended_at` is set, which may be a moment
    after the answer, `attempts` is 0 and what only the settlement says is null.
    """

    price_version: str
    """The version of the catalogue whose prices these are: those at the moment of admission."""
    long_context: ReceiptLongContext | None
    """The prices for long requests; null where they cost what others do."""
    output_limit: int
    """Most output tokens that were allowed."""
    tokens_input: int | None
    """Billed input tokens, cached and written ones among them; null until settled."""
    tokens_cached: int | None
    """The part of `tokens_input` that was read from the vendor's cache."""
    tokens_cache_written: int | None
    """The part of `tokens_input` that was written to the vendor's cache."""
    tokens_cache_written_long: int | None
    """The part of `tokens_cache_written` that is kept for an hour or more."""
    tokens_output: int | None
    """Billed output tokens, reasoning among them; null until settled."""
    tokens_reasoning: int | None
    """The part of `tokens_output` that was thinking."""
    estimated: bool | None
    """Whether tokens were estimated, because the vendor did not report them; null until settled."""
    hold_usd: UsdText
    """The credit that was held when the request was admitted."""
    charged_usd: UsdText
    """What was charged; never more than was held."""
    released_usd: UsdText | None
    """What of the hold was given back; null until settled."""
    attempts: int
    """How often a vendor was called."""
    service_tier: ServiceTier
    """The tier that was asked for, whose prices these are."""
    service_tier_served: str | None
    """The tier that served, as the vendor says; null where it says nothing."""
    saved_usd: UsdText | None
    """What the same tokens would have cost more without the tier `flex`; null where it was not asked for."""
    chain: list[ReceiptModel] | None
    """The models that might have served it, in order; null where there was only one."""


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
