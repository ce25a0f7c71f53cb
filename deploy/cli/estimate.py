"""Estimates the cost of a file of lines before it is sent, at the tier flex and at the default tier, from the service's
own prices.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any

import msgspec

from shared.catalogue.listing import FIELDS
from shared.chat import Chat, Message
from shared.input_tokens import TYPICAL_IMAGE_TOKENS, estimated_input
from shared.money import LongContext, Price, Usage, nano_to_usd, price_from_usd
from shared.settings import Settings

DEFAULTS = {field.name: field.default for field in msgspec.structs.fields(Settings)}
"""The service's default output limits; an operator may have others."""


class Estimate(msgspec.Struct, frozen=True):
    """The estimate for the `counted` lines. Lines in `left_out` cannot be parsed here, or are for a model that is
    unknown or does not have the tier. A line that asks for the default tier itself is counted at that tier's price.
    Input is estimated and output counted up to its limit, so most lines cost less. Cache writes, and an operator's own
    price factor for batches, are not counted.
    """

    counted: int
    left_out: int
    flex_usd: str
    default_usd: str


class _Options(msgspec.Struct, frozen=True):
    max_tokens: Annotated[int, msgspec.Meta(ge=1)] | None = None
    service_tier: str | None = None


class _Line(msgspec.Struct, frozen=True):
    model: str
    messages: list[Message]
    options: _Options = _Options()


class _Offered(msgspec.Struct, frozen=True):
    """A model's prices, and the most tokens that it writes."""

    default: Price
    flex: Price
    output_limit: int
    output_default: int


_decoder = msgspec.json.Decoder(_Line)


def estimate(path: Path, models: Iterable[Mapping[str, Any]]) -> Estimate:
    """The estimate for the file's lines, by the prices of `GET /api/models`. Lines are read one by one."""
    offered = _offered(models)
    counted = left_out = flex_nano = default_nano = 0
    for line in _lines(path):
        model = offered.get(line.model) if line else None
        if line is None or model is None:
            left_out += 1
            continue
        output = min(line.options.max_tokens or model.output_default, model.output_limit)
        usage = Usage(estimated_input(Chat(line.messages), TYPICAL_IMAGE_TOKENS), output)
        counted += 1
        default = model.default.cost(usage)
        flex_nano += default if line.options.service_tier == "default" else model.flex.cost(usage)
        default_nano += default
    return Estimate(counted, left_out, nano_to_usd(flex_nano), nano_to_usd(default_nano))


def _lines(path: Path) -> Iterator[_Line | None]:
    """The parsed lines; None for one that is not understood. Blank lines are skipped."""
    with path.open("rb") as file:
        for text in file:
            if not text.strip():
                continue
            try:
                yield _decoder.decode(text)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                yield None


def _offered(models: Iterable[Mapping[str, Any]]) -> dict[str, _Offered]:
    """Prices by all names of the models, if there is a price for the tier."""
    found: dict[str, _Offered] = {}
    for model in models:
        if model["flex"] is None:
            continue
        usual = "output_limit_default_reasoning" if model["capabilities"]["reasoning"] else "output_limit_default"
        prices = _price(model), _price(model["flex"])
        one = _Offered(*prices, model["max_output_tokens"], DEFAULTS[usual])
        found |= dict.fromkeys((model["name"], *model["aliases"]), one)
    return found


def _price(listed: Mapping[str, Any]) -> Price:
    long = listed["long_context"]
    return Price(**_rates(listed), long_context=long and LongContext(**_rates(long), above=long["above_tokens"]))


def _rates(listed: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: None if (usd := listed[field]) is None else price_from_usd(Decimal(str(usd)))
        for name, field in FIELDS.items()
    }
