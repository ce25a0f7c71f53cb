"""The catalogue: the facts about each model, read from the files of `companies/` and an operator's overlay file
(`CATALOGUE`).

An overlay has the same form (`FIELDS.md`). A `[[model]]` whose `name` exists changes the fields that it gives; another
name adds a model. An `[[upstream]]` says where models can be called.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import msgspec

from shared import clock
from shared.catalogue.files import FILES, tables_in_force
from shared.catalogue.names import Names, refuse_shared
from shared.catalogue.prices import Phase, Prices, version_of
from shared.catalogue.rows import CachePlace, Lifecycle, Row, Thinking, ToolsLack, parse_row
from shared.catalogue.successors import successors
from shared.catalogue.upstreams import Upstreams, parse_upstreams
from shared.catalogue.written import Written
from shared.chat import ReasoningEffort, Tools
from shared.errors import ModelNotFound
from shared.lanes import Lane, ServiceTier
from shared.money import Price

if TYPE_CHECKING:
    from shared.settings import Settings

LISTED_AT = "/api/models"
NAME_SHOWN_MAX = 100
"""The most characters of an unknown name that an error repeats."""
SUCCESSORS_EFFORT: Literal["medium"] = "medium"
"""The effort of a successor if the caller asks for none: OpenAI's models that always think use this one."""


class DefaultPrices(msgspec.Struct, frozen=True):
    """The price of a model's vendor at its default tier, and the price that a customer would pay at that tier."""

    vendor_price: Price
    price: Price


class Model(msgspec.Struct, frozen=True, kw_only=True):
    """A model in the form for the code; it travels with each job. `vendor_price` is the vendor's price and `price` the
    customer's, both those in force when the catalogue was asked for the model. `price_version` names the pair for good.
    """

    name: str
    company: str
    provider: str
    api: str
    vendor_model: str = msgspec.field(name="upstream")
    """The vendor's id of the model: `upstream` in the catalogue, in jobs and in the database."""
    region: str | None
    vendor_price: Price
    price: Price
    price_version: str
    context_window: int
    max_output_tokens: int
    streaming: bool
    system_prompt: Literal["native", "developer", "fold"]
    limit_parameter: str
    sampling: bool
    stop: bool
    tools: bool
    json_mode: bool
    image_tokens: int | None
    reasoning: bool
    bills_to_the_end: bool
    lifecycle: Lifecycle
    ends_on: dt.date | None
    prefill: bool = False
    reasoning_efforts: tuple[ReasoningEffort, ...] = ()
    tools_lack: tuple[ToolsLack, ...] = ()
    base_url: str | None = None
    key_variable: str | None = None
    successor: str | None = None
    replaced_by: str | None = None
    thinking: Thinking | None = None
    no_tools_because: str | None = None
    second_api: str | None = None
    unstreamed_tokens: int | None = None
    cache_minimum: int | None = None
    cache_marks: tuple[CachePlace, ...] = ()
    writes_unasked: bool = True
    service_tier: ServiceTier = "default"
    """The tier of the prices, which is also asked of the vendor."""
    at_default: DefaultPrices | None = None
    """The prices at the default tier, for a model at another tier."""

    @property
    def lane(self) -> Lane:
        """The lane in which a single request for the model waits."""
        return "flex" if self.service_tier == "flex" else "interactive"

    @property
    def service(self) -> str:
        """The capability that a worker needs to call the model: its API, and a key of its own if the row names one."""
        return f"{self.api}:{self.key_variable}" if self.key_variable else self.api

    @property
    def place(self) -> str:
        """The API that the model is called by, and its name."""
        return f"{self.api}/{self.name}"

    def streams_with(self, tools: Tools) -> bool:
        """True if the vendor streams an answer for which these tools are on offer."""
        return self.streaming and not ("streaming" in self.tools_lack and tools.may_be_called())

    @property
    def can_be_made_to_call(self) -> bool:
        """True if the model can be forced to call a tool if only one is on offer."""
        return self.tools and not {"required", "named"} <= set(self.tools_lack)


OF_A_TIER = ("service_tier", "at_default", "vendor_price", "price", "price_version")
"""Fields of a model that differ between service tiers."""


class PhasedModel(msgspec.Struct, frozen=True):
    """One model in each phase of its vendor's prices, at the tier `flex` too if it has one, and the factor that customers'
    prices are multiplied with.
    """

    models: dict[Phase, Model]
    flex: dict[Phase, Model]
    prices: Prices
    factor: Decimal

    def now(self) -> Model:
        """The model with the prices that are in force."""
        return self.models[self.prices.phase(clock.utc_now())]

    def flex_now(self) -> Model | None:
        """The model at the tier `flex`, with the prices that are in force; None if the model lacks that tier."""
        return self.flex.get(self.prices.phase(clock.utc_now()))

    def changed(self, **fields: str | None) -> PhasedModel:
        """The same model with other values in these fields of its row."""
        models, flex = (
            {at: msgspec.structs.replace(one, **fields) for at, one in of.items()} for of in (self.models, self.flex)
        )
        return PhasedModel(models, flex, self.prices, self.factor)


class Catalogue:
    """The models in force, in the order of the files. Each is returned with the prices of that moment. `upstreams` says
    where models can be called.
    """

    def __init__(self, offers: dict[str, PhasedModel], names: Names, upstreams: Upstreams) -> None:
        self._offers = offers
        self._names = names
        self.upstreams = upstreams

    def __iter__(self) -> Iterator[Model]:
        return (offer.now() for offer in self._offers.values())

    def __len__(self) -> int:
        return len(self._offers)

    def serving(self, name: str, listed_at: str = LISTED_AT) -> Model:
        """The model that serves requests for `name`: the model itself, or its successor, which is told to think if the
        other model did. Raises `ModelNotFound`.
        """
        model = self.find(name, listed_at)
        if not model.successor:
            return model
        served = self._offers[model.successor].now()
        always_thought = model.reasoning and model.thinking is None
        can_think = served.reasoning and ("reasoning" not in served.tools_lack or served.second_api is not None)
        return msgspec.structs.replace(served, thinking=_unasked(served)) if always_thought and can_think else served

    def find(self, name: str, listed_at: str = LISTED_AT, *, nearest: bool = True) -> Model:
        """The model with the public name or alias `name`. Raises `ModelNotFound`, which names the route that lists all
        models, and the nearest names if `nearest` is true (looking for them takes milliseconds).
        """
        found = self._names.find(name)
        if found is None:
            near = ", ".join(self._names.nearest(name) if nearest else ())
            told = f"The nearest are {near}; " if near else ""
            raise ModelNotFound(
                f"There is no model {name[:NAME_SHOWN_MAX]!r}. {told}GET {listed_at} lists all of them."
            )
        return self._offers[found].now()

    def at_tier(self, model: Model, tier: ServiceTier) -> Model | None:
        """The model with the prices of that tier; None if it lacks the tier."""
        if tier == model.service_tier:
            return model
        found = self._offers[model.name].flex_now()
        return found and msgspec.structs.replace(model, **{name: getattr(found, name) for name in OF_A_TIER})

    def public_name(self, name: str) -> str:
        """The public name of the model with this name or alias; `name` itself if there is none."""
        return self._names.find(name) or name

    def aliases_of(self, model: Model) -> tuple[str, ...]:
        """The model's other names, as they are listed."""
        return self._names.aliases_of(model.name)

    def prices_of(self, model: Model) -> tuple[Prices, Decimal]:
        """All prices of the model's vendor, and the factor that customers' prices are multiplied with."""
        offer = self._offers[model.name]
        return offer.prices, offer.factor


def _unasked(model: Model) -> Thinking | None:
    """The thinking that the vendor is asked for so that the model thinks although the caller did not ask for it. GPT up
    to 5.4 does not think by itself; other models do.
    """
    return SUCCESSORS_EFFORT if model.provider == "openai" and SUCCESSORS_EFFORT in model.reasoning_efforts else None


def load_catalogue(
    overlay: Path | None = None, price_factor: Decimal = Decimal(1), *, use_successors: bool = False
) -> Catalogue:
    """Read the catalogue. A customer pays the vendor's price × `price_factor` × the row's own factor. With
    `use_successors`, a model that its vendor has replaced is served by the replacement. Raises `SettingsError` with file,
    line, model and reason if a row is wrong or has no price.
    """
    tables, upstreams = tables_in_force(overlay)
    rows = {name: _parsed(table, tables) for name, table in tables.items()}
    written = [(table, rows[name][0]) for name, table in tables.items()]
    refuse_shared(sorted(written, key=lambda one: one[0].path == overlay))
    names = Names({row.name: row for _, row in written})
    offers = {name: _offer(row, prices, price_factor) for name, (row, prices) in rows.items()}
    for name, served in successors(written, names, use=use_successors).items():
        offers[name] = offers[name].changed(successor=served.by, replaced_by=served.later_by)
    models = {name: offer.now() for name, offer in offers.items()}
    return Catalogue(offers, names, parse_upstreams(upstreams, models, names))


def _parsed(table: Written, tables: Mapping[str, Written]) -> tuple[Row, Prices]:
    """The row and the vendor's prices. A name that an operator's overlay uses is taken from the aliases of our rows."""
    row, prices = parse_row(table)
    if table.path in FILES:
        row = msgspec.structs.replace(row, aliases=tuple(alias for alias in row.aliases if alias not in tables))
    return row, prices


def _offer(row: Row, prices: Prices, price_factor: Decimal) -> PhasedModel:
    factor = price_factor * row.price_factor
    fields = {name: getattr(row, name) for name in Model.__struct_fields__ if name in Row.__struct_fields__}

    def at(vendor_price: Price) -> Model:
        price = vendor_price.times(factor)
        version = version_of(vendor_price, price)
        return Model(**fields, vendor_price=vendor_price, price=price, price_version=version)

    models = {phase: at(prices.price_in(phase)) for phase in prices.phases()}
    flex = {
        phase: msgspec.structs.replace(
            at(price), service_tier="flex", at_default=DefaultPrices(model.vendor_price, model.price)
        )
        for phase, model in models.items()
        if (price := prices.flex_in(phase))
    }
    return PhasedModel(models, flex, prices, factor)


def priced(model: Model, factor: Decimal) -> Model:
    """The same model, with customers' prices multiplied by `factor`."""
    if factor == 1:
        return model
    price, default = model.price.times(factor), model.at_default
    return msgspec.structs.replace(
        model,
        price=price,
        price_version=version_of(model.vendor_price, price),
        at_default=default and DefaultPrices(default.vendor_price, default.price.times(factor)),
    )


def output_limit(model: Model, max_tokens: int | None, settings: Settings) -> tuple[int, int]:
    """The output limit that is wanted, and the smallest one that is granted, in tokens. The caller's number is an upper
    bound: the model's maximum lowers it, and the account's credit may lower it to the second number.
    """
    default = settings.output_limit_default_reasoning if model.reasoning else settings.output_limit_default
    wanted = min(model.max_output_tokens, default if max_tokens is None else max_tokens)
    return wanted, min(wanted, settings.output_limit_floor)
