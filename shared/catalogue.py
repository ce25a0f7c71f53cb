"""The catalogue: what is known of each model, from `catalogue.toml` and an operator's overlay file (`CATALOGUE`).

An overlay has the same form: a `[[model]]` whose `name` exists changes the fields it gives, another name adds a model.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import tomllib
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from shared.errors import ModelNotFound
from shared.money import Price, nano_to_usd, price_from_usd
from shared.settings import SettingsError

CATALOGUE_FILE = Path(__file__).with_name("catalogue.toml")
ADDRESSABLE = ("openai", "deepseek")
"""The providers that speak OpenAI's protocol: their rows may name another address."""
Lifecycle = Literal["active", "legacy", "retired"]
Positive = Annotated[int, msgspec.Meta(ge=1)]


class Row(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A row as written; `catalogue.toml` explains the fields. Prices are USD per million tokens."""

    name: Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9][a-z0-9.\-]{0,99}$")]
    company: str
    provider: Literal["openai", "bedrock", "deepseek", "gemini"]
    api: str
    upstream: str
    input: Decimal
    output: Decimal
    cached: Decimal | None = None
    price_factor: Decimal = Decimal(1)
    context_window: Positive
    max_output_tokens: Positive
    streaming: bool = True
    system_prompt: Literal["native", "developer", "fold"] = "native"
    limit_parameter: str
    sampling: bool = True
    stop: bool = True
    tools: bool = False
    json_mode: bool = False
    image_tokens: Positive | None = None
    reasoning: bool = False
    bills_to_the_end: bool = False
    prefill: bool = False
    region: str | None = None
    base_url: Annotated[str, msgspec.Meta(pattern=r"^https?://")] | None = None
    key_variable: Annotated[str, msgspec.Meta(pattern=r"^[A-Z][A-Z0-9_]{2,99}$")] | None = None
    successor: str | None = None
    lifecycle: Lifecycle
    ends_on: dt.date | None = None
    sources: str


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
    base_url: str | None = None
    key_variable: str | None = None
    successor: str | None = None

    def as_json(self) -> dict[str, object]:
        """The public listing, prices as exact JSON numbers in USD per million tokens."""
        return {
            "name": self.name,
            "provider": self.company,
            "context_window": self.context_window,
            "max_output_tokens": self.max_output_tokens,
            "input_usd_per_mtok": _number(self.price.input),
            "output_usd_per_mtok": _number(self.price.output),
            "cached_input_usd_per_mtok": None if self.price.cached is None else _number(self.price.cached),
            "capabilities": {
                "streaming": self.streaming,
                "system_prompt": self.system_prompt != "fold",
                "sampling": self.sampling,
                "stop": self.stop,
                "tools": self.tools,
                "json_mode": self.json_mode,
                "vision": self.image_tokens is not None,
                "reasoning": self.reasoning,
            },
            "lifecycle": self.lifecycle,
            "ends_on": self.ends_on,
        }


class Catalogue:
    """The models in force, in the order of the file."""

    def __init__(self, models: dict[str, Model]) -> None:
        self._models = models

    def __iter__(self) -> Iterator[Model]:
        return iter(self._models.values())

    def __len__(self) -> int:
        return len(self._models)

    def find(self, name: str) -> Model:
        """Raises `ModelNotFound`."""
        model = self._models.get(name)
        if model is None:
            raise ModelNotFound(f"There is no model {name[:100]!r}: GET /api/models lists all of them.")
        return model


def load_catalogue(overlay: Path | None = None, price_factor: Decimal = Decimal(1)) -> Catalogue:
    """What customers pay is the vendor's price × `price_factor` × the row's own factor.

    Raises `SettingsError` with file, model and reason when a row is wrong or has no price.
    """
    rows = {row["name"]: row for row in _read(CATALOGUE_FILE)}
    for row in _read(overlay) if overlay else ():
        name = row.get("name")
        if not isinstance(name, str):
            raise SettingsError(f"{overlay}: a [[model]] has no name")
        rows[name] = rows.get(name, {}) | row
    return Catalogue({name: _model(row, overlay or CATALOGUE_FILE, price_factor) for name, row in rows.items()})


def _read(path: Path) -> list[dict[str, Any]]:
    try:
        document = tomllib.loads(path.read_text(), parse_float=Decimal)
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SettingsError(f"{path}: {error}") from None
    rows = document.get("model", [])
    if set(document) - {"model"} or not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise SettingsError(f"{path}: it takes [[model]] tables and nothing else")
    return rows


def _model(raw: dict[str, Any], path: Path, price_factor: Decimal) -> Model:
    try:
        row = msgspec.convert({**raw, **_decimals(raw)}, Row)
        _check_address(row)
        vendor_price = _vendor_price(row)
    except (msgspec.ValidationError, ValueError) as error:
        raise SettingsError(f"{path}: model {raw.get('name')!r}: {error}") from None
    price = vendor_price.times(price_factor * row.price_factor)
    shared_fields = {name: getattr(row, name) for name in Model.__struct_fields__ if name in Row.__struct_fields__}
    return Model(**shared_fields, vendor_price=vendor_price, price=price, price_version=_version(vendor_price, price))


def _check_address(row: Row) -> None:
    if row.base_url and not row.key_variable:
        raise ValueError("a base_url needs a key_variable, so that no vendor's key is sent to another vendor")
    if row.key_variable and row.provider not in ADDRESSABLE:
        raise ValueError(f"base_url and key_variable go with provider {' or '.join(ADDRESSABLE)} only")


def _decimals(raw: dict[str, Any]) -> dict[str, Decimal]:
    """TOML writes 2 and 2.5 as different types; a price takes both."""
    names = ("input", "output", "cached", "price_factor")
    return {name: Decimal(raw[name]) for name in names if type(raw.get(name)) in {int, Decimal}}


def _vendor_price(row: Row) -> Price:
    if any(
        not value.is_finite() or value < 0
        for value in (row.input, row.output, row.cached or Decimal(0), row.price_factor)
    ):
        raise ValueError("a price is a number and not negative")
    cached = None if row.cached is None else price_from_usd(row.cached)
    return Price(price_from_usd(row.input), price_from_usd(row.output), cached)


def _version(vendor_price: Price, price: Price) -> str:
    return hashlib.sha256(msgspec.json.encode([vendor_price, price])).hexdigest()[:12]


def _number(nano_per_mtok: int) -> msgspec.Raw:
    return msgspec.Raw(nano_to_usd(nano_per_mtok).encode())
