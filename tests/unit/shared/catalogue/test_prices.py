"""Prices as rows write them: by tokens, by day, by hour; at the edges of each, and as they are listed."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest

from shared import clock
from shared.catalogue.listing import facts_of
from shared.catalogue.models import Catalogue, DefaultPrices, load_catalogue, priced
from shared.catalogue.prices import version_of
from shared.money import LongContext, Price, Usage
from shared.settings import SettingsError

ROW = """
[[model]]
name = "acme-one"
company = "Acme"
provider = "openai"
api = "openai-chat"
upstream = "acme-1"
input = 2
output = 10
{more}
context_window = 1000000
max_output_tokens = 100
limit_parameter = "max_tokens"
lifecycle = "active"
sources = "made up"
"""
FORMS = """
cached = 0.1
cache_write = 2.5
cache_write_long = 5
long_context = { above = 272000, input = 4, output = 15, cached = 0.2, cache_write = 5, cache_write_long = 10 }
"""
DATED = (
    "price_changes = [{ from = 2026-12-01, input = 4, output = 20 }, { from = 2027-01-01, cached = 0.2 }]\ncached = 0.1"
)
HOURLY = 'off_peak = { factor = 0.5, peak = ["01:00-04:00", "06:00-10:00"], days = "Mon-Fri" }'
FLEX = (
    "flex = { input = 1, output = 5, cached = 0.05, "
    "long_context = { above = 272000, input = 2, output = 7, cached = 0.1 } }"
)
MILLION = 1_000_000_000
"""USD per million tokens, in nano-USD."""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "overlay.toml"


@pytest.fixture(autouse=True)
def right_time() -> Iterator[None]:
    """After each test."""
    yield
    clock.set_right(0)


def _at(moment: str) -> None:
    clock.set_right(time.time() - datetime.fromisoformat(moment).replace(tzinfo=UTC).timestamp())


def _catalogue(path: Path, more: str, factor: str = "1") -> Catalogue:
    path.write_text(ROW.format(more=more))
    return load_catalogue(path, Decimal(factor))


def _input(catalogue: Catalogue) -> int:
    return catalogue.find("acme-one").price.input


def test_every_form_of_a_price_is_read_and_multiplied_with_the_factors_and_rounded_up(path: Path) -> None:
    model = _catalogue(path, FORMS + "price_factor = 1.000000000001", factor="2").find("acme-one")
    long = LongContext(4 * MILLION, 15 * MILLION, MILLION // 5, 5 * MILLION, 10 * MILLION, above=272_000)
    assert model.vendor_price == Price(2 * MILLION, 10 * MILLION, MILLION // 10, 5 * MILLION // 2, 5 * MILLION, long)
    up = (4 * MILLION + 1, 20 * MILLION + 1, MILLION // 5 + 1, 5 * MILLION + 1, 10 * MILLION + 1)
    long_up = [8 * MILLION + 1, 30 * MILLION + 1, 2 * MILLION // 5 + 1, 10 * MILLION + 1, 20 * MILLION + 1]
    assert model.price == Price(*up, LongContext(*long_up, above=272_000))
    batched = priced(model, Decimal("0.5"))
    assert batched.price.long_context == LongContext(*(-(-rate // 2) for rate in long_up), above=272_000)
    assert batched.price_version != model.price_version == version_of(model.vendor_price, model.price)


@pytest.mark.parametrize(("tokens", "cost"), [(272_000, 544_000_000), (272_001, 1_088_004_000)])
def test_the_token_that_tips_a_request_over_the_threshold_doubles_all_of_it(path: Path, tokens: int, cost: int) -> None:
    price = _catalogue(path, FORMS).find("acme-one").price
    assert price.cost(Usage(tokens, 0)) == cost
    assert price.cost(Usage(tokens, 0, cached=tokens)) == cost // 20


@pytest.mark.parametrize(
    ("moment", "usd"),
    [
        ("2026-11-30T23:59:30", (2, 10, 0.1)),
        ("2026-12-01T00:00:00", (4, 20, 0.1)),
        ("2026-12-31T23:59:30", (4, 20, 0.1)),
        ("2027-01-01T00:00:00", (4, 20, 0.2)),
    ],
)
def test_a_change_is_in_force_from_midnight_in_utc_on_and_what_it_does_not_name_stays(
    path: Path, moment: str, usd: tuple[float, float, float]
) -> None:
    catalogue = _catalogue(path, DATED)
    _at(moment)
    price = catalogue.find("acme-one").price
    assert (price.input, price.output, price.cached) == tuple(round(one * MILLION) for one in usd)
    assert catalogue.serving("acme-1").price == next(one.price for one in catalogue if one.name == "acme-one") == price


def test_changes_are_sorted_by_their_days_and_a_long_price_changes_as_far_as_it_is_named(path: Path) -> None:
    changes = "price_changes = [{ from = 2027-02-01, long_context = { input = 8 } }, { from = 2027-01-01, input = 3 }]"
    catalogue = _catalogue(path, FORMS + changes)
    _at("2027-01-15T00:00:00")
    earlier = catalogue.find("acme-one").price
    assert earlier.input == 3 * MILLION
    assert earlier.long_context == LongContext(
        4 * MILLION, 15 * MILLION, MILLION // 5, 5 * MILLION, 10 * MILLION, above=272_000
    )
    _at("2027-02-01T00:00:00")
    later = catalogue.find("acme-one").price
    assert (later.input, later.long_context) == (
        3 * MILLION,
        msgspec.structs.replace(earlier.long_context, input=8 * MILLION),
    )


@pytest.mark.parametrize(
    ("moment", "usd"),
    [
        ("2026-11-27T00:59:59.999", 1),  # a Friday
        ("2026-11-27T01:00:00", 2),
        ("2026-11-27T03:59:59.999", 2),
        ("2026-11-27T04:00:00", 1),
        ("2026-11-27T05:59:59.999", 1),
        ("2026-11-27T06:00:00", 2),
        ("2026-11-27T09:59:59.999", 2),
        ("2026-11-27T10:00:00", 1),
        ("2026-11-28T02:00:00", 1),
        ("2026-11-29T07:00:00", 1),
        ("2026-11-29T23:59:59.999", 1),
        ("2026-11-30T01:00:00", 2),
    ],
)
def test_off_peak_is_every_moment_outside_of_peak_hours_and_all_of_a_weekend(path: Path, moment: str, usd: int) -> None:
    catalogue = _catalogue(path, HOURLY)
    _at(moment)
    assert _input(catalogue) == usd * MILLION


@pytest.mark.parametrize(
    ("days", "peak_days"), [("Mon-Sun", 7), ("Sat", 1), ("Fri-Mon", 4), ("Mon-Fri", 5), ("Sun-Sat", 7)]
)
def test_days_are_one_or_a_range_which_may_go_over_a_sunday(path: Path, days: str, peak_days: int) -> None:
    catalogue = _catalogue(path, f'off_peak = {{ factor = 0.5, peak = ["00:00-24:00"], days = "{days}" }}')
    found = []
    for day in range(1, 8):
        _at(f"2027-03-0{day}T23:59:59")
        found.append(_input(catalogue) == 2 * MILLION)
    assert sum(found) == peak_days
    assert found[0] == ("Mon" in days or days == "Sun-Sat")  # 1 March 2027 is a Monday


def test_the_hours_of_a_changed_price_and_a_successor_hold_at_each_of_its_times(path: Path) -> None:
    more = (
        f'{HOURLY}\n{DATED}\nlong_context = {{ above = 10, input = 8, output = 9, cached = 3 }}\nsuccessor = "gpt-4o"'
    )
    catalogue = _catalogue(path, more, factor="1.1")
    for moment, usd in (("2026-12-01T02:00:00", "4.4"), ("2026-12-01T12:00:00", "2.2")):
        _at(moment)
        model = catalogue.find("acme-one")
        assert model.price.input == Decimal(usd) * MILLION
        assert model.price.long_context == LongContext(
            model.price.input * 2, round(model.price.input * 2.25), model.price.input * 3 // 4, above=10
        )
        assert model.successor == "openai-gpt-4o"


def test_each_price_in_force_has_a_version_of_its_own(path: Path) -> None:
    catalogue, versions = _catalogue(path, f"{HOURLY}\n{DATED}"), {}
    for day in ("2026-11-30", "2026-12-01", "2027-01-01"):
        for hour in ("02", "12"):
            _at(f"{day}T{hour}:00:00")
            model = catalogue.find("acme-one")
            versions[model.price_version] = model.price
    assert len(versions) == len(set(versions.values())) == 5  # the last one is the first one, and has its version


def test_the_name_of_a_plain_price_is_what_it_was_before_there_were_other_forms() -> None:
    assert load_catalogue().find("openai-gpt-4o").price_version == "4a94187cf651"


def test_prices_of_other_times_and_tiers_are_listed_for_customers(path: Path) -> None:
    change = "price_changes = [{ from = 2026-12-01, input = 4, flex = { input = 2 } }]"
    catalogue = _catalogue(path, f"{FORMS}{HOURLY}\n{FLEX}\n{change}", factor="1.1")
    _at("2026-11-30T02:00:00")
    facts = _facts(catalogue)
    assert (facts["input_usd_per_mtok"], facts["cache_write_usd_per_mtok"]) == (2.2, 2.75)
    assert facts["cache_write_long_usd_per_mtok"] == 5.5
    assert facts["long_context"]["above_tokens"] == 272_000
    assert facts["long_context"]["output_usd_per_mtok"] == 16.5
    assert facts["flex"] == {
        "input_usd_per_mtok": 1.1,
        "output_usd_per_mtok": 5.5,
        "cached_input_usd_per_mtok": 0.055,
        "cache_write_usd_per_mtok": None,
        "cache_write_long_usd_per_mtok": None,
        "long_context": {
            "above_tokens": 272_000,
            "input_usd_per_mtok": 2.2,
            "output_usd_per_mtok": 7.7,
            "cached_input_usd_per_mtok": 0.11,
            "cache_write_usd_per_mtok": None,
            "cache_write_long_usd_per_mtok": None,
        },
    }
    (change,) = facts["price_changes"]
    assert (change["flex"]["input_usd_per_mtok"], change["flex"]["output_usd_per_mtok"]) == (2.2, 5.5)
    assert (change["from"], change["input_usd_per_mtok"], change["output_usd_per_mtok"]) == ("2026-12-01", 4.4, 11)
    hours = facts["off_peak"]
    assert (hours["peak_hours_utc"], hours["peak_days"]) == (["01:00-04:00", "06:00-10:00"], "Mon-Fri")
    assert (hours["peak"]["input_usd_per_mtok"], hours["otherwise"]["input_usd_per_mtok"]) == (2.2, 1.1)
    assert hours["otherwise"]["long_context"]["input_usd_per_mtok"] == 2.2
    _at("2026-12-01T12:00:00")
    facts = _facts(catalogue)
    assert (facts["input_usd_per_mtok"], facts["price_changes"]) == (2.2, [])
    assert facts["flex"]["input_usd_per_mtok"] == 2.2  # at all hours
    assert facts["off_peak"]["peak"]["input_usd_per_mtok"] == 4.4


def test_a_model_at_flex_has_the_prices_of_that_tier_and_knows_what_it_would_cost_without(path: Path) -> None:
    changes = "price_changes = [{ from = 2026-12-01, input = 4, flex = { output = 6 } }]"
    catalogue = _catalogue(path, f"{FORMS}{HOURLY}\n{FLEX}\n{changes}", factor="2")
    _at("2026-11-30T12:00:00")
    model = catalogue.find("acme-one")
    flex = catalogue.at_tier(model, "flex")
    assert flex is not None
    assert (flex.service_tier, flex.lane, flex.vendor_price.input, flex.price.input) == (
        "flex",
        "flex",
        MILLION,
        2 * MILLION,
    )
    assert flex.at_default == DefaultPrices(model.vendor_price, model.price)
    assert flex.price_version != model.price_version
    assert model.vendor_price.input == MILLION  # half of the peak's
    assert flex.price.dearest(300_000) == (4 * MILLION, 14 * MILLION)
    _at("2026-12-01T02:00:00")
    changed = catalogue.at_tier(catalogue.find("acme-one"), "flex")
    assert changed is not None
    assert (changed.vendor_price.input, changed.vendor_price.output) == (MILLION, 6 * MILLION)
    assert priced(changed, Decimal("0.5")).at_default == DefaultPrices(
        catalogue.find("acme-one").vendor_price, catalogue.find("acme-one").price.times(Decimal("0.5"))
    )


def test_a_model_without_a_price_for_flex_has_no_such_tier(path: Path) -> None:
    catalogue = _catalogue(path, "")
    model = catalogue.find("acme-one")
    assert (catalogue.at_tier(model, "default"), catalogue.at_tier(model, "flex")) == (model, None)


def test_flex_is_never_dearer_than_the_default_tier_of_a_row() -> None:
    catalogue = load_catalogue()
    served = [model for model in catalogue if catalogue.at_tier(model, "flex")]
    assert {model.api for model in served} == {"openai-chat", "gemini"}
    for model in served:
        prices, _ = catalogue.prices_of(model)
        for phase in prices.phases():
            price, flex = prices.price_in(phase), prices.flex_in(phase)
            assert flex is not None
            for tokens in (1, 1_000_000):
                assert all(
                    low <= high for low, high in zip(flex.dearest(tokens), price.dearest(tokens), strict=True)
                ), model


def test_a_plain_price_is_listed_without_other_times_and_tiers() -> None:
    catalogue = load_catalogue()
    facts = msgspec.json.decode(msgspec.json.encode(facts_of(catalogue, catalogue.find("openai-gpt-4o"))))
    assert [facts[name] for name in ("long_context", "flex", "off_peak", "price_changes")] == [None, None, None, []]


def _facts(catalogue: Catalogue) -> Any:
    return msgspec.json.decode(msgspec.json.encode(facts_of(catalogue, catalogue.find("acme-one"))))


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ("cache_write = -1", ":10: model 'acme-one': `cache_write` is a number and not negative"),
        (
            "cache_write_long = 0.0000000001",
            ":10: model 'acme-one': `cache_write_long`: 1E-10 USD has more than nine decimals",
        ),
        (
            "\nlong_context = { above = 0, input = 1, output = 1 }",
            ":11: model 'acme-one': `long_context.above` takes a whole number from 1",
        ),
        ("long_context = { above = 5, input = 1 }", "`long_context.output` is missing: it takes a number"),
        (
            "long_context = { above = 5, input = -1, output = 1 }",
            ":10: model 'acme-one': `long_context`: 'input' is a number",
        ),
        (
            "cached = 1\nlong_context = { above = 5, input = 3, output = 1 }",
            ":11: model 'acme-one': `long_context` lacks 'cached'",
        ),
        (
            "long_context = { above = 5, input = 3, output = 1, colour = 2 }",
            "`long_context.colour` is no field of it: it takes input, output",
        ),
        ("price_changes = [{ input = 3 }]", "`price_changes[0].from` is missing: it takes a day"),
        (
            "\nprice_changes = [{ from = 2027-01-01, input = nan }]",
            ":11: model 'acme-one': `price_changes` from 2027-01-01: 'input'",
        ),
        (
            "price_changes = [{ from = 2027-01-01, input = 3 }, { from = 2027-01-01, output = 3 }]",
            ":10: model 'acme-one': `price_changes` has two from 2027-01-01",
        ),
        (
            "price_changes = [{ from = 2027-01-01, long_context = { input = 3 } }]",
            ":10: model 'acme-one': `price_changes` from 2027-01-01: 'long_context' lacks 'above'",
        ),
        (
            "price_changes = [{ from = 2027-01-01T00:00:00Z, input = 3 }]",
            "`price_changes[0].from` takes a day such as 2026-11-28",
        ),
        (
            'off_peak = { factor = 0.5, peak = ["04:00-01:00"] }',
            ":10: model 'acme-one': `off_peak`: '04:00-01:00' ends before",
        ),
        ('off_peak = { factor = 0.5, peak = ["4:00-5:00"] }', "`off_peak.peak[0]` takes hours such as"),
        ('off_peak = { factor = 0.5, peak = ["24:00-24:00"] }', "`off_peak.peak[0]` takes hours such as"),
        ("off_peak = { factor = 0.5, peak = [] }", "`off_peak.peak` takes a list that is not empty"),
        ('off_peak = { factor = 0.5, peak = ["01:00-02:00"], days = "Mo-Fr" }', "`off_peak.days` takes days such as"),
        ('off_peak = { factor = -1, peak = ["01:00-02:00"] }', ":10: model 'acme-one': `off_peak`: 'factor' is 0, or"),
        ("flex = { input = 1 }", "`flex.output` is missing: it takes a number"),
        ("flex = { input = -1, output = 1 }", ":10: model 'acme-one': `flex`: 'input' is a number and not negative"),
        (
            f"{FORMS}flex = {{ input = 1, output = 5 }}",
            ":15: model 'acme-one': `flex` lacks 'long_context', which the row",
        ),
        (
            "flex = { input = 1, output = 1, cached = 1, long_context = { above = 5, input = 1, output = 1 } }",
            "`flex.long_context` lacks 'cached', which the row has",
        ),
        (
            "price_changes = [{ from = 2027-01-01, flex = { input = 3 } }]",
            ":10: model 'acme-one': `price_changes` from 2027-01-01 has 'flex', which the row lacks",
        ),
    ],
)
def test_a_price_that_makes_no_sense_is_refused_where_it_stands(path: Path, more: str, said: str) -> None:
    with pytest.raises(SettingsError) as refused:
        _catalogue(path, more)
    assert said in str(refused.value)
