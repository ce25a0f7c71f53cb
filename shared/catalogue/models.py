"""The catalogue: what is known of each model, from `catalogue.toml` and an operator's overlay file (`CATALOGUE`).

An overlay has the same form: a `[[model]]` whose `name` exists changes the fields it gives, another name adds a model.
"""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Iterator, Mapping
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import msgspec

from shared.catalogue.names import Names, refuse_shared
from shared.catalogue.rows import Lifecycle, Row, ToolsLack, Written, parse_row, read_tables
from shared.chat import ReasoningEffort, Tools
from shared.errors import ModelNotFound
from shared.money import Price, UsdNumber, usd_number

if TYPE_CHECKING:
    from shared.settings import Settings

CATALOGUE_FILE = Path(__file__).with_name("catalogue.toml")
LISTED_AT = "/api/models"
NAME_SHOWN_MAX = 100
"""Characters of an unknown name that an error repeats."""


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
    """What the catalogue says of a model. Prices are exact numbers in USD per million tokens. `aliases` are other names that
    it answers to, the vendor's own id first.
    """

    name: str
    aliases: tuple[str, ...]
    provider: str
    context_window: int
    max_output_tokens: int
    input_usd_per_mtok: UsdNumber
    output_usd_per_mtok: UsdNumber
    cached_input_usd_per_mtok: UsdNumber | None
    capabilities: Capabilities
    reasoning_efforts: tuple[ReasoningEffort, ...]
    lifecycle: Lifecycle
    ends_on: dt.date | None
    successor: str | None


class Model(msgspec.Struct, frozen=True, kw_only=True):
    """A model as the code uses it; travels with each job. `vendor_price` is what the vendor takes, `price` what a
    customer pays, both nano-USD per million tokens; `price_version` names the pair for good.
    """

    name: str
    company: str
    provider: str
    api: str
    upstream: str
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

    @property
    def service(self) -> str:
        """What a worker must be able to do for this model: its API, with a key of its own where the row names one."""
        return f"{self.api}:{self.key_variable}" if self.key_variable else self.api

    def streams_with(self, tools: Tools) -> bool:
        """Whether the vendor streams an answer for which these tools are on offer."""
        return self.streaming and not ("streaming" in self.tools_lack and tools.may_be_called())

    @property
    def can_be_made_to_call(self) -> bool:
        """Whether it can be made to call the only tool on offer."""
        return self.tools and not {"required", "named"} <= set(self.tools_lack)

    def public(self, aliases: tuple[str, ...]) -> ModelFacts:
        """The public listing, with the names that `Catalogue.aliases_of` gives."""
        cached = self.price.cached
        return ModelFacts(
            name=self.name,
            aliases=aliases,
            provider=self.company,
            context_window=self.context_window,
            max_output_tokens=self.max_output_tokens,
            input_usd_per_mtok=usd_number(self.price.input),
            output_usd_per_mtok=usd_number(self.price.output),
            cached_input_usd_per_mtok=None if cached is None else usd_number(cached),
            capabilities=self._capabilities(),
            reasoning_efforts=self.reasoning_efforts,
            lifecycle=self.lifecycle,
            ends_on=self.ends_on,
            successor=self.successor,
        )

    def _capabilities(self) -> Capabilities:
        return Capabilities(
            streaming=self.streaming,
            system_prompt=self.system_prompt != "fold",
            sampling=self.sampling,
            stop=self.stop,
            tools=self.tools,
            json_mode=self.json_mode or self.can_be_made_to_call,
            vision=self.image_tokens is not None,
            reasoning=self.reasoning,
        )


class Catalogue:
    """The models in force, in the order of the file."""

    def __init__(self, models: dict[str, Model], names: Names) -> None:
        self._models = models
        self._names = names

    def __iter__(self) -> Iterator[Model]:
        return iter(self._models.values())

    def __len__(self) -> int:
        return len(self._models)

    def serving(self, name: str, listed_at: str = LISTED_AT) -> Model:
        """The model that serves requests for `name`: itself, or its successor. Raises `ModelNotFound`."""
        model = self.find(name, listed_at)
        return self._models[model.successor] if model.successor else model

    def find(self, name: str, listed_at: str = LISTED_AT, *, nearest: bool = True) -> Model:
        """The model that answers to `name`, a public name or any other. Raises `ModelNotFound`, which names the nearest ones
        (unless told not to: looking for them takes milliseconds) and the route that lists all.
        """
        found = self._names.find(name)
        if found is None:
            near = ", ".join(self._names.nearest(name) if nearest else ())
            told = f"The nearest are {near}; " if near else ""
            raise ModelNotFound(
                f"There is no model {name[:NAME_SHOWN_MAX]!r}. {told}GET {listed_at} lists all of them."
            )
        return self._models[found]

    def public_name(self, name: str) -> str:
        """The public name of the model that answers to `name`; `name` itself when none does."""
        return self._names.find(name) or name

    def aliases_of(self, model: Model) -> tuple[str, ...]:
        """The other names that it is listed with."""
        return self._names.aliases_of(model.name)


def load_catalogue(overlay: Path | None = None, price_factor: Decimal = Decimal(1)) -> Catalogue:
    """What customers pay is the vendor's price × `price_factor` × the row's own factor.

    Raises `SettingsError` with file, line, model and reason when a row is wrong or has no price.
    """
    tables = read_tables(CATALOGUE_FILE)
    for name, table in read_tables(overlay).items() if overlay else ():
        tables[name] = table.over(tables.get(name))
    rows = {name: _parsed(table, tables) for name, table in tables.items()}
    written = [(table, rows[name][0]) for name, table in tables.items()]
    refuse_shared(sorted(written, key=lambda one: one[0].path == overlay))
    names = Names({row.name: row for _, row in written})
    models = {name: _model(row, vendor_price, price_factor) for name, (row, vendor_price) in rows.items()}
    for table, row in written:
        if row.successor is not None:
            successor = _successor(table, row.successor, names, models)
            models[row.name] = msgspec.structs.replace(models[row.name], successor=successor)
    return Catalogue(models, names)


def _successor(table: Written, named: str, names: Names, models: dict[str, Model]) -> str:
    """Its public name."""
    found = names.find(named)
    if found is None:
        raise table.error(f"`successor` is {named!r}, which is no model here")
    if models[found].successor is not None:
        raise table.error(f"`successor` is {named!r}, which has a successor itself: name the last one")
    return found


def _parsed(table: Written, tables: Mapping[str, Written]) -> tuple[Row, Price]:
    """The row and the vendor's price. A name that an operator has given a model is no alias of ours any more."""
    row, vendor_price = parse_row(table)
    if table.path == CATALOGUE_FILE:
        row = msgspec.structs.replace(row, aliases=tuple(alias for alias in row.aliases if alias not in tables))
    return row, vendor_price


def _model(row: Row, vendor_price: Price, price_factor: Decimal) -> Model:
    price = vendor_price.times(price_factor * row.price_factor)
    shared_fields = {name: getattr(row, name) for name in Model.__struct_fields__ if name in Row.__struct_fields__}
    return Model(**shared_fields, vendor_price=vendor_price, price=price, price_version=_version(vendor_price, price))


def priced(model: Model, factor: Decimal) -> Model:
    """The same model at `factor` times its price to customers."""
    if factor == 1:
        return model
    price = model.price.times(factor)
    return msgspec.structs.replace(model, price=price, price_version=_version(model.vendor_price, price))


def _version(vendor_price: Price, price: Price) -> str:
    return hashlib.sha256(msgspec.json.encode([vendor_price, price])).hexdigest()[:12]


def output_limit(model: Model, max_tokens: int | None, settings: Settings) -> tuple[int, int]:
    """What is wanted and the least that makes sense, in tokens. What the caller asks for is an upper bound: the model's
    maximum lowers it, and what the account can afford, down to the second number.
    """
    default = settings.output_limit_default_reasoning if model.reasoning else settings.output_limit_default
    wanted = min(model.max_output_tokens, default if max_tokens is None else max_tokens)
    return wanted, min(wanted, settings.output_limit_floor)
