"""Lists of prices that others keep, converted to the fields of the catalogue's rows: LiteLLM's
`model_prices_and_context_window.json` and the `data.json` of genai-prices (forms read in litellm-1.110 and
genai-prices-0.2.3, 2026-11).

A price from a list is USD per million tokens under the field's name. `long_context.input` is a price within that field,
and `off_peak.factor` is the number that a price is multiplied by off peak.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from shared.errors import RebootError

MTOK, KILO = 1_000_000, 1_000
PARTS = ("input", "output", "cached", "cache_write", "cache_write_long")
ONE_SIDED = ("long_context.above", "off_peak.factor")
"""Fields whose presence in a list says that such prices exist."""
FIELDS = (*PARTS, "long_context.above", *(f"long_context.{part}" for part in PARTS), "off_peak.factor")
DEPRECATED = "deprecated"
Table = Mapping[str, Any]
_decoder = msgspec.json.Decoder(Any, float_hook=Decimal)


class Theirs(NamedTuple):
    """A list's facts about one model. `ended` is its lifecycle, if that is no longer `active`."""

    prices: dict[str, Decimal]
    ended: str | None = None


class PriceList(NamedTuple):
    """A list of prices. `find` looks a model up by one of our providers and its possible names, best first."""

    find: Callable[[str, Iterable[str]], Theirs | None]


class UnknownForm(RebootError):
    """The file is no known list of prices."""


def read_price_list(path: Path, today: dt.date) -> PriceList:
    """The prices in force on that day. Raises `UnknownForm`."""
    try:
        document = _decoder.decode(path.read_bytes())
    except OSError as error:
        raise UnknownForm(f"{path} cannot be read: {error.strerror}") from None
    except msgspec.DecodeError as error:
        raise UnknownForm(f"{path} is no JSON: {error}") from None
    if isinstance(document, dict) and all(isinstance(entry, dict) for entry in document.values()):
        return _litellm(document, today)
    if isinstance(document, list) and all(isinstance(one, dict) and "models" in one for one in document):
        return _genai_prices(document, today)
    raise UnknownForm(f"{path} is neither LiteLLM's list of prices nor that of genai-prices")


# -- LiteLLM

_LITELLM = {
    "input_cost_per_token": "input",
    "output_cost_per_token": "output",
    "cache_read_input_token_cost": "cached",
    "cache_creation_input_token_cost": "cache_write",
    "cache_creation_input_token_cost_above_1hr": "cache_write_long",
    "cache_creation_input_token_cost_above_12hr": "cache_write_long",
}
_TIER = re.compile(r"(?P<base>.+)_above_(?P<thousands>\d+)k_tokens")


def _litellm(document: Table, today: dt.date) -> PriceList:
    def find(provider: str, names: Iterable[str]) -> Theirs | None:
        for name in (key for one in names for key in (one, f"{provider}/{one}")):
            entry = document.get(name)
            if entry and str(entry.get("litellm_provider", "")).startswith(provider):
                return Theirs(_litellm_prices(entry), _litellm_end(entry, today))
        return None

    return PriceList(find)


def _litellm_prices(entry: Table) -> dict[str, Decimal]:
    prices: dict[str, Decimal] = {}
    for key, value in entry.items():
        tier = _TIER.fullmatch(key)
        part = _LITELLM.get(tier["base"] if tier else key)
        if part is None or value is None or (part == "cache_write" and not value):  # 0 means no price of its own
            continue
        if tier:
            prices["long_context.above"] = Decimal(int(tier["thousands"]) * KILO)
        prices[f"long_context.{part}" if tier else part] = Decimal(value) * MTOK
    off_peak = (entry.get("off_peak_pricing") or {}).get("input_cost_per_token")
    if off_peak is not None and prices.get("input"):
        prices["off_peak.factor"] = Decimal(off_peak) * MTOK / prices["input"]
    return prices


def _litellm_end(entry: Table, today: dt.date) -> str | None:
    try:
        day = dt.date.fromisoformat(entry.get("deprecation_date") or "")
    except (TypeError, ValueError):
        return None
    return f"retired {day}" if day < today else None


# -- genai-prices

_GENAI = {
    "input_mtok": "input",
    "output_mtok": "output",
    "cache_read_mtok": "cached",
    "cache_write_mtok": "cache_write",
    "cache_write_1h_mtok": "cache_write_long",
}
_GENAI_PROVIDERS = {"bedrock": "aws", "gemini": "google"}


def _genai_prices(document: Iterable[Table], today: dt.date) -> PriceList:
    models = {one.get("id"): one["models"] for one in document}

    def find(provider: str, names: Iterable[str]) -> Theirs | None:
        known = models.get(_GENAI_PROVIDERS.get(provider, provider), ())
        for name in names:
            for model in known:
                if _fits(model.get("match") or {}, name.lower()):
                    return Theirs(_in_force(model["prices"], today), DEPRECATED if model.get("deprecated") else None)
        return None

    return PriceList(find)


def _fits(clause: Table, name: str) -> bool:
    ((kind, value),) = clause.items()
    if kind in {"or", "and"}:
        return (any if kind == "or" else all)(_fits(one, name) for one in value)
    if kind == "regex":
        return re.search(value, name) is not None
    told: str = value.lower()
    fits = {"equals": name == told, "contains": told in name}
    return fits.get(kind, name.startswith(told) if kind == "starts_with" else name.endswith(told))


def _in_force(prices: Table | list[Table], today: dt.date) -> dict[str, Decimal]:
    """The prices in force: the last entry that is in force counts. An entry for hours of the day has the peak price; the
    entry before it then has the off-peak price.
    """
    if not isinstance(prices, list):
        return _genai_parts(prices)
    begun = [one for one in prices if (one.get("constraint") or {}).get("start_date", "") <= today.isoformat()]
    of_hours = [one for one in begun if "start_time" in (one.get("constraint") or {})]
    always = [one for one in begun if one not in of_hours] or prices[:1]
    usual = _genai_parts(always[-1]["prices"])
    if not of_hours:
        return usual
    peak = _genai_parts(of_hours[-1]["prices"])
    return {**peak, "off_peak.factor": usual["input"] / peak["input"]}


def _genai_parts(prices: Table) -> dict[str, Decimal]:
    parts: dict[str, Decimal] = {}
    for key, part in _GENAI.items():
        value = prices.get(key)
        if isinstance(value, dict):
            tier = value["tiers"][0]
            parts["long_context.above"] = Decimal(tier["start"])
            parts[f"long_context.{part}"] = Decimal(tier["price"])
            value = value["base"]
        if value is not None:
            parts[part] = Decimal(value)
    return parts
