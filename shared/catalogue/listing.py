"""Models as `GET /api/models` lists them: what each can do, what it costs now, and what is known of other times and tiers."""

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
"""The rates of a price, and what they are called where they are listed."""


class ListedRates(msgspec.Struct, frozen=True, kw_only=True):
    """Exact numbers in USD per million tokens. What is null costs what ordinary input costs, and `cache_write_long` (tokens
    written to a cache that keeps them longer) what other written tokens cost.
    """

    input_usd_per_mtok: UsdNumber
    output_usd_per_mtok: UsdNumber
    cached_input_usd_per_mtok: UsdNumber | None
    cache_write_usd_per_mtok: UsdNumber | None
    cache_write_long_usd_per_mtok: UsdNumber | None


class LongContextRates(ListedRates, frozen=True, kw_only=True):
    """What all tokens of a request cost that has more than `above_tokens` of input, cached and written ones among them."""

    above_tokens: int


class ListedPrice(ListedRates, frozen=True, kw_only=True):
    """`long_context` is null where long requests cost what others do."""

    long_context: LongContextRates | None


class OffPeakPrices(msgspec.Struct, frozen=True, kw_only=True):
    """`peak` is charged in the hours `peak_hours_utc` of the days `peak_days`, `otherwise` at all other times."""

    peak_hours_utc: tuple[str, ...]
    peak_days: str
    peak: ListedPrice
    otherwise: ListedPrice


class ListedChange(ListedPrice, frozen=True, kw_only=True):
    """The price from the beginning of a day in UTC; in peak hours, where there are such. `flex`: that of this tier."""

    first_day: dt.date = msgspec.field(name="from")
    flex: ListedPrice | None


class Capabilities(msgspec.Struct, frozen=True, kw_only=True):
    """What a model can do. An option that it cannot honour is refused."""

    streaming: bool
    system_prompt: bool
    sampling: bool
    stop: bool
    tools: bool
    json_mode: bool
    vision: bool
    reasoning: bool


class ModelFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What the catalogue says of a model. Prices are exact numbers in USD per million tokens, as in force now; what is null
    costs what ordinary input costs, and a long cache write what a short one does. `aliases` are other names that it answers
    to, the vendor's own id first. `successor` serves requests for it now; `replaced_by` is what to ask for once the vendor's
    model is gone.
    """

    name: str
    aliases: tuple[str, ...]
    provider: str
    context_window: int
    max_output_tokens: int
    input_usd_per_mtok: UsdNumber
    output_usd_per_mtok: UsdNumber
    cached_input_usd_per_mtok: UsdNumber | None
    cache_write_usd_per_mtok: UsdNumber | None
    cache_write_long_usd_per_mtok: UsdNumber | None
    long_context: LongContextRates | None
    flex: ListedPrice | None
    off_peak: OffPeakPrices | None
    price_changes: tuple[ListedChange, ...]
    capabilities: Capabilities
    reasoning_efforts: tuple[ReasoningEffort, ...]
    lifecycle: Lifecycle
    ends_on: dt.date | None
    successor: str | None
    replaced_by: str | None


def facts_of(catalogue: Catalogue, model: Model) -> ModelFacts:
    """The public listing of a model, which is one of the catalogue's."""
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
    """What is known at `moment`, which is in UTC, of prices at other tiers, hours and days."""
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
    """The five fields of rates, each written by `amount`."""
    return {field: None if (rate := getattr(rates, name)) is None else amount(rate) for name, field in FIELDS.items()}
