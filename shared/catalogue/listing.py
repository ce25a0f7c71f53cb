"""Models as `GET /api/models` lists them: abilities, present prices, and prices at other times and tiers."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import msgspec

from shared import clock
from shared.catalogue.models import Catalogue, Model
from shared.catalogue.prices import Phase, Prices
from shared.catalogue.rows import Lifecycle
from shared.chat import ReasoningEffort
from shared.money import Price, Rates, UsdNumber, usd_number

FIELDS = {
    "input": "input_usd_per_mtok",
    "output": "output_usd_per_mtok",
    "cached": "cached_input_usd_per_mtok",
    "cache_write": "cache_write_usd_per_mtok",
    "cache_write_long": "cache_write_long_usd_per_mtok",
}
"""The rates of a price, and the names of their fields in listings."""


class ListedRates(msgspec.Struct, frozen=True, kw_only=True):
    """Prices in USD per million tokens, as exact numbers."""

    input_usd_per_mtok: UsdNumber
    """Ordinary input, USD per million tokens."""
    output_usd_per_mtok: UsdNumber
    """Output, reasoning among it, USD per million tokens."""
    cached_input_usd_per_mtok: UsdNumber | None
    """Input read from the vendor's cache, USD per million tokens; null: as ordinary input."""
    cache_write_usd_per_mtok: UsdNumber | None
    """Input written to the vendor's cache, USD per million tokens; null: as ordinary input."""
    cache_write_long_usd_per_mtok: UsdNumber | None
    """Input written to a cache that keeps it for an hour or more, USD per million tokens; null: as other writes."""


class LongContextRates(ListedRates, frozen=True, kw_only=True):
    """What all tokens of a request cost that has more than `above_tokens` of input."""

    above_tokens: int
    """More input tokens than this, cached and written ones among them, have these prices."""


class ListedPrice(ListedRates, frozen=True, kw_only=True):
    """Prices in USD per million tokens, and those of long requests."""

    long_context: LongContextRates | None
    """The prices of long requests; null where they cost what others do."""


class OffPeakPrices(msgspec.Struct, frozen=True, kw_only=True):
    """Prices that depend on the hour."""

    peak_hours_utc: tuple[str, ...]
    """The peak hours in UTC, such as `00:30-16:30`."""
    peak_days: str
    """The days on which there are peak hours."""
    peak: ListedPrice
    """The prices in the peak hours."""
    otherwise: ListedPrice
    """The prices at all other times."""


class ListedChange(ListedPrice, frozen=True, kw_only=True):
    """A price that is to come, from the beginning of a day in UTC."""

    first_day: dt.date = msgspec.field(name="from")
    """The first day of the new price, in UTC."""
    flex: ListedPrice | None
    """The price of the tier `flex` from then on; null for none."""


class Capabilities(msgspec.Struct, frozen=True, kw_only=True):
    """What a model can do. An option that it cannot honour is refused."""

    streaming: bool
    """Whether the text comes in pieces; else it is sent as one."""
    system_prompt: bool
    """Whether instructions are the vendor's own kind; else they stand in the first turn of the user."""
    sampling: bool
    """Whether `temperature` and `top_p` are taken."""
    stop: bool
    """Whether stop sequences are taken."""
    tools: bool
    """Whether it can call tools."""
    json_mode: bool
    """Whether its answer can be held to JSON."""
    vision: bool
    """Whether it takes images."""
    reasoning: bool
    """Whether it thinks before it answers, which is billed as output."""


class ModelFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What the catalogue says of a model. Prices are those in force now, in USD per million tokens."""

    name: str
    """The public name, for the field `model` of a request."""
    aliases: tuple[str, ...]
    """Other names that it answers to, the vendor's own id first."""
    provider: str
    """The company that made the model."""
    context_window: int
    """Tokens of input and output together."""
    max_output_tokens: int
    """Most output tokens of one answer."""
    input_usd_per_mtok: UsdNumber
    """Ordinary input, USD per million tokens."""
    output_usd_per_mtok: UsdNumber
    """Output, reasoning among it, USD per million tokens."""
    cached_input_usd_per_mtok: UsdNumber | None
    """Input read from the vendor's cache, USD per million tokens; null: as ordinary input."""
    cache_write_usd_per_mtok: UsdNumber | None
    """Input written to the vendor's cache, USD per million tokens; null: as ordinary input."""
    cache_write_long_usd_per_mtok: UsdNumber | None
    """Input written to a cache that keeps it for an hour or more, USD per million tokens; null: as other writes."""
    long_context: LongContextRates | None
    """The prices of long requests; null where they cost what others do."""
    flex: ListedPrice | None
    """The prices of the tier `flex`; null where the model has none."""
    off_peak: OffPeakPrices | None
    """Prices by the hour; null where they are the same all day."""
    price_changes: tuple[ListedChange, ...]
    """Prices that are known to come, in order."""
    capabilities: Capabilities
    """What it can do."""
    reasoning_efforts: tuple[ReasoningEffort, ...]
    """The efforts that it takes, from least to most; empty where it cannot be told."""
    lifecycle: Lifecycle
    """`active`, `legacy` (the vendor advises another) or `retired`."""
    ends_on: dt.date | None
    """The last day on which the vendor serves it; null where none is announced."""
    successor: str | None
    """The model that serves requests for this name now; null for none."""
    replaced_by: str | None
    """The model to ask for once the vendor's model is gone; null for none."""


def facts_of(catalogue: Catalogue, model: Model) -> ModelFacts:
    """The listed form of one of the catalogue's models."""
    return ModelFacts(
        name=model.name,
        aliases=catalogue.aliases_of(model),
        provider=model.company,
        context_window=model.context_window,
        max_output_tokens=model.max_output_tokens,
        **listed(model.price),
        **_other_prices(*catalogue.prices_of(model), clock.utc_now()),
        capabilities=_capabilities(model),
        reasoning_efforts=model.reasoning_efforts,
        lifecycle=model.lifecycle,
        ends_on=model.ends_on,
        successor=model.successor,
        replaced_by=model.replaced_by,
    )


def _capabilities(model: Model) -> Capabilities:
    return Capabilities(
        streaming=model.streaming,
        system_prompt=model.system_prompt != "fold",
        sampling=model.sampling,
        stop=model.stop,
        tools=model.tools,
        json_mode=model.json_mode or model.can_be_made_to_call,
        vision=model.image_tokens is not None,
        reasoning=model.reasoning,
    )


def _other_prices(prices: Prices, factor: Decimal, moment: dt.datetime) -> dict[str, Any]:
    """Prices of the model at other tiers, hours and days, as known at `moment` (in UTC)."""
    step = prices.phase(moment).step

    def paid(phase: Phase) -> dict[str, Any]:
        return listed(prices.price_in(phase).times(factor))

    def flex_paid(phase: Phase) -> ListedPrice | None:
        price = prices.flex_in(phase)
        return None if price is None else ListedPrice(**listed(price.times(factor)))

    off_peak = prices.off_peak and OffPeakPrices(
        peak_hours_utc=prices.off_peak.peak,
        peak_days=prices.off_peak.days,
        peak=ListedPrice(**paid(Phase(step))),
        otherwise=ListedPrice(**paid(Phase(step, off_peak=True))),
    )
    to_come = tuple(
        ListedChange(first_day=change.since, **paid(Phase(number)), flex=flex_paid(Phase(number)))
        for number, change in enumerate(prices.steps)
        if number > step and change.since
    )
    return {"flex": flex_paid(Phase(step)), "off_peak": off_peak, "price_changes": to_come}


def listed(price: Price) -> dict[str, Any]:
    """The fields of a `ListedPrice`."""
    long = price.long_context
    rates = long and LongContextRates(**rates_as(usd_number, long), above_tokens=long.above)
    return {**rates_as(usd_number, price), "long_context": rates}


def rates_as(amount: Callable[[int], Any], rates: Rates) -> dict[str, Any]:
    """The five fields of the rates, each amount converted by `amount`."""
    return {field: None if (rate := getattr(rates, name)) is None else amount(rate) for name, field in FIELDS.items()}
