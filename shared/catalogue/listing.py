"""The form in which `GET /api/models` lists models: abilities, present prices, and prices at other times and tiers."""

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
    """The price of ordinary input, in USD per million tokens."""
    output_usd_per_mtok: UsdNumber
    """The price of output, reasoning included, in USD per million tokens."""
    cached_input_usd_per_mtok: UsdNumber | None
    """The price of input that is read from the vendor's cache, in USD per million tokens; null if it is that of
    ordinary input.
    """
    cache_write_usd_per_mtok: UsdNumber | None
    """The price of input that is written to the vendor's cache, in USD per million tokens; null if it is that of
    ordinary input.
    """
    cache_write_long_usd_per_mtok: UsdNumber | None
    """The price of input that is written to a cache which keeps it for an hour or more, in USD per million tokens; null
    if it is that of other cache writes.
    """


class LongContextRates(ListedRates, frozen=True, kw_only=True):
    """The prices of all tokens of a request with more than `above_tokens` of input."""

    above_tokens: int
    """The prices above hold for a request with more input tokens than this, cached and written ones included."""


class ListedPrice(ListedRates, frozen=True, kw_only=True):
    """Prices in USD per million tokens, with the prices of requests with long input."""

    long_context: LongContextRates | None
    """The prices of requests with long input; null if they are the same."""


class OffPeakPrices(msgspec.Struct, frozen=True, kw_only=True):
    """Prices that depend on the time of day."""

    peak_hours_utc: tuple[str, ...]
    """The peak hours in UTC, such as `00:30-16:30`."""
    peak_days: str
    """The days of the week that have peak hours."""
    peak: ListedPrice
    """The prices in the peak hours."""
    otherwise: ListedPrice
    """The prices at all other times."""


class ListedChange(ListedPrice, frozen=True, kw_only=True):
    """A future price, in force from the beginning of a day in UTC."""

    first_day: dt.date = msgspec.field(name="from")
    """The first day (UTC) on which the price is in force."""
    flex: ListedPrice | None
    """The price at the tier `flex` from that day on; null if there is none."""


class Capabilities(msgspec.Struct, frozen=True, kw_only=True):
    """The abilities of a model. A request with an option that the model cannot honour is refused."""

    streaming: bool
    """True if the text comes in pieces; false if a stream has it in one piece."""
    system_prompt: bool
    """True if instructions are sent as the vendor's own kind; false if they are put into the first turn of the user."""
    sampling: bool
    """True if the model takes `temperature` and `top_p`."""
    stop: bool
    """True if the model takes stop sequences."""
    tools: bool
    """True if the model can call tools."""
    json_mode: bool
    """True if the model can be made to answer with JSON."""
    vision: bool
    """True if the model takes images."""
    reasoning: bool
    """True if the model thinks before it answers. Thoughts are billed as output."""


class ModelFacts(msgspec.Struct, frozen=True, kw_only=True):
    """The catalogue's facts about a model. Prices are those in force now, in USD per million tokens."""

    name: str
    """The public name, for the field `model` of a request."""
    aliases: tuple[str, ...]
    """Other names of the model, the vendor's own id first."""
    provider: str
    """The company that made the model."""
    context_window: int
    """The tokens that input and output may have together."""
    max_output_tokens: int
    """The most output tokens of one answer."""
    input_usd_per_mtok: UsdNumber
    """The price of ordinary input, in USD per million tokens."""
    output_usd_per_mtok: UsdNumber
    """The price of output, reasoning included, in USD per million tokens."""
    cached_input_usd_per_mtok: UsdNumber | None
    """The price of input that is read from the vendor's cache, in USD per million tokens; null if it is that of
    ordinary input.
    """
    cache_write_usd_per_mtok: UsdNumber | None
    """The price of input that is written to the vendor's cache, in USD per million tokens; null if it is that of
    ordinary input.
    """
    cache_write_long_usd_per_mtok: UsdNumber | None
    """The price of input that is written to a cache which keeps it for an hour or more, in USD per million tokens; null
    if it is that of other cache writes.
    """
    long_context: LongContextRates | None
    """The prices of requests with long input; null if they are the same."""
    flex: ListedPrice | None
    """The prices at the tier `flex`; null if the model does not have the tier."""
    off_peak: OffPeakPrices | None
    """The prices by time of day; null if they are the same all day."""
    price_changes: tuple[ListedChange, ...]
    """Future prices that are known, in order of their days."""
    capabilities: Capabilities
    """The abilities of the model."""
    reasoning_efforts: tuple[ReasoningEffort, ...]
    """The reasoning efforts that the model takes, from least to most; empty if it takes none."""
    lifecycle: Lifecycle
    """`active`, `legacy` (the vendor advises another model) or `retired`."""
    ends_on: dt.date | None
    """The last day on which the vendor serves the model; null if no end is announced."""
    successor: str | None
    """The name of the model that serves requests for this one now; null if it serves them itself."""
    replaced_by: str | None
    """The name of the model that the vendor advises once this one is gone; null if it advises none."""


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
    """The five price fields, each amount converted by `amount`."""
    return {field: None if (rate := getattr(rates, name)) is None else amount(rate) for name, field in FIELDS.items()}
