"""The catalogue beside small lists of prices in each form, and what is told of the differences."""

from __future__ import annotations

import argparse
import datetime as dt
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest

from deploy.cli.price_check import Difference, check_prices, differences, prices_of
from deploy.cli.price_lists import UnknownForm, read_price_list
from shared.catalogue.files import tables_in_force
from shared.settings import Settings, SettingsError

TODAY = dt.date(2026, 11, 27)
SETTINGS = Settings(database_url="postgresql://nowhere", redis_url="redis://nowhere")
ROW: dict[str, Any] = {
    "name": "acme-one",
    "provider": "openai",
    "upstream": "one-2026-01-01",
    "aliases": ["one"],
    "lifecycle": "active",
    "input": 2,
    "output": Decimal("10.5"),
    "cached": Decimal("0.2"),
}
LITELLM = {
    "litellm_provider": "openai",
    "input_cost_per_token": 2e-06,
    "output_cost_per_token": 1.05e-05,
    "cache_read_input_token_cost": 2e-07,
    "input_cost_per_token_batches": 1e-06,
    "max_input_tokens": 1000,
}
GENAI = {"input_mtok": 2, "output_mtok": 10.5, "cache_read_mtok": 0.2, "web_searches_kcount": 10}
LONG = {"above": 272_000, "input": 4, "output": 15, "cached": Decimal("0.4")}
LITELLM_LONG: dict[str, Any] = {
    "input_cost_per_token_above_272k_tokens": 4e-06,
    "input_cost_per_token_above_272k_tokens_priority": 9e-06,
    "output_cost_per_token_above_272k_tokens": 1.5e-05,
    "cache_read_input_token_cost_above_272k_tokens": 4e-07,
}
GENAI_LONG = {
    "input_mtok": {"base": 2, "tiers": [{"start": 272_000, "price": 4}]},
    "output_mtok": {"base": 10.5, "tiers": [{"start": 272_000, "price": 15}]},
    "cache_read_mtok": {"base": 0.2, "tiers": [{"start": 272_000, "price": 0.4}]},
}


def found(folder: Path, document: object, **changes: Any) -> list[tuple[str, object, object]]:
    path = folder / "prices.json"
    path.write_text(json.dumps(document))
    there = differences(ROW | changes, read_price_list(path, TODAY), TODAY)
    return [(one.field, one.ours, one.theirs) for one in there]


def litellm(name: str = "one", **changes: Any) -> dict[str, Any]:
    return {"sample_spec": {"mode": "chat"}, name: LITELLM | changes}


def genai(
    prices: object = GENAI, provider: str = "openai", match: object = None, **changes: Any
) -> list[dict[str, Any]]:
    model = {"id": "one", "match": match or {"starts_with": "one"}, "prices": prices, **changes}
    return [{"id": "other", "models": []}, {"id": provider, "models": [model]}]


@pytest.mark.parametrize("document", [litellm(), litellm("one-2026-01-01"), litellm("openai/one"), genai()])
def test_equal_prices_are_no_difference(tmp_path: Path, document: object) -> None:
    assert found(tmp_path, document) == []


@pytest.mark.parametrize(
    "document",
    [
        litellm(input_cost_per_token=1.5e-06, output_cost_per_token=1.2e-05),
        genai(GENAI | {"input_mtok": 1.5, "output_mtok": 12}),
    ],
)
def test_dearer_and_cheaper_are_told_by_their_fields(tmp_path: Path, document: object) -> None:
    assert found(tmp_path, document) == [
        ("input", Decimal(2), Decimal("1.5")),
        ("output", Decimal("10.5"), Decimal(12)),
    ]


@pytest.mark.parametrize(
    "document",
    [litellm("two"), litellm(litellm_provider="azure"), genai(provider="azure"), genai(match={"equals": "two"})],
)
def test_a_model_that_is_not_there_is_missing_unless_it_is_gone_here(tmp_path: Path, document: object) -> None:
    assert found(tmp_path, document) == [("model", "one-2026-01-01", None)]
    assert found(tmp_path, document, lifecycle="retired") == []
    assert found(tmp_path, document, base_url="http://own") == []


@pytest.mark.parametrize(
    ("document", "lifecycle", "ended"),
    [
        (litellm(deprecation_date="2026-11-26"), "active", "retired 2026-11-26"),
        (litellm(deprecation_date="2026-11-26"), "legacy", "retired 2026-11-26"),
        (litellm(deprecation_date="2026-11-27"), "active", None),
        (litellm(deprecation_date="someday"), "active", None),
        (genai(deprecated=True), "active", "deprecated"),
        (genai(deprecated=True), "legacy", None),
    ],
)
def test_a_model_that_has_ended_there_is_told(
    tmp_path: Path, document: object, lifecycle: str, ended: str | None
) -> None:
    expected = [("lifecycle", lifecycle, ended)] if ended else []
    assert found(tmp_path, document, lifecycle=lifecycle) == expected


@pytest.mark.parametrize("document", [litellm(**LITELLM_LONG), genai(GENAI_LONG)])
def test_prices_of_long_prompts_are_compared(tmp_path: Path, document: object) -> None:
    assert found(tmp_path, document, long_context=LONG) == []
    assert found(tmp_path, document, long_context=LONG | {"above": 200_000, "output": 16}) == [
        ("long_context.above", Decimal(200_000), Decimal(272_000)),
        ("long_context.output", Decimal(16), Decimal(15)),
    ]
    assert found(tmp_path, document) == [("long_context.above", None, Decimal(272_000))]
    assert found(tmp_path, litellm(), long_context=LONG) == [("long_context.above", Decimal(272_000), None)]


def test_what_is_not_given_costs_what_input_costs(tmp_path: Path) -> None:
    written: dict[str, Any] = {
        "cache_creation_input_token_cost": 2.5e-06,
        "cache_creation_input_token_cost_above_1hr": 4e-06,
    }
    assert found(tmp_path, litellm(**written)) == [("cache_write", Decimal(2), Decimal("2.5"))]
    assert found(tmp_path, litellm(**written), cache_write=Decimal("2.5"), cache_write_long=5) == [
        ("cache_write_long", Decimal(5), Decimal(4))
    ]
    assert found(tmp_path, litellm(cache_creation_input_token_cost=0.0)) == []
    assert found(tmp_path, genai({"input_mtok": 2, "output_mtok": 10.5})) == [("cached", Decimal("0.2"), Decimal(2))]


def test_a_dated_change_counts_from_its_day_on_both_sides(tmp_path: Path) -> None:
    later = GENAI | {"input_mtok": 3}
    for day, price in ((TODAY, 3), (TODAY + dt.timedelta(days=1), 2)):
        change = [{"prices": GENAI}, {"constraint": {"start_date": day.isoformat()}, "prices": later}]
        assert found(tmp_path, genai(change), price_changes=[{"from": day, "input": 3}]) == []
        assert prices_of(ROW | {"price_changes": [{"from": day, "input": 3}]}, TODAY)["input"] == price
        assert found(tmp_path, genai(change)) == ([("input", Decimal(2), Decimal(3))] if price == 3 else [])


def test_a_change_of_a_price_of_long_prompts_leaves_the_others(tmp_path: Path) -> None:
    own = {"long_context": LONG, "price_changes": [{"from": TODAY, "long_context": {"input": 5}}]}
    there = litellm(**LITELLM_LONG | {"input_cost_per_token_above_272k_tokens": 5e-06})
    assert found(tmp_path, there, **own) == []
    assert prices_of(ROW | own, TODAY - dt.timedelta(days=1))["long_context.input"] == 4


def test_the_day_of_a_change_may_stand_in_quotes() -> None:
    assert prices_of(ROW | {"price_changes": [{"from": "2026-11-27", "input": 3}]}, TODAY)["input"] == 3


def test_prices_off_peak_are_compared_by_their_factor(tmp_path: Path) -> None:
    half = {"input_cost_per_token": 1e-06, "windows": []}
    cheap = {"input_mtok": 1, "output_mtok": 5.25, "cache_read_mtok": 0.1}
    hours = {"start_time": "01:00:00Z", "end_time": "04:00:00Z"}
    for document in (
        litellm(off_peak_pricing=half),
        genai([{"prices": cheap}, {"constraint": hours, "prices": GENAI}]),
    ):
        assert found(tmp_path, document, off_peak={"factor": Decimal("0.5"), "peak": []}) == []
        assert found(tmp_path, document) == [("off_peak.factor", None, Decimal("0.5"))]


def test_ids_of_bedrock_are_looked_up_as_they_are_and_then_without_their_geography(tmp_path: Path) -> None:
    row = {"provider": "bedrock", "upstream": "us.acme.one-v1:0", "aliases": []}
    own = LITELLM | {"litellm_provider": "bedrock_converse"}
    assert found(tmp_path, {"acme.one-v1:0": own}, **row) == []
    dearer = {"us.acme.one-v1:0": own, "acme.one-v1:0": own | {"input_cost_per_token": 3e-06}}
    assert found(tmp_path, dearer, **row) == []
    clauses = {"or": [{"equals": "x"}, {"and": [{"contains": "ACME.one"}, {"regex": r"v\d"}, {"ends_with": ":0"}]}]}
    assert found(tmp_path, genai(provider="aws", match=clauses), **row) == []


@pytest.mark.parametrize("text", ["", "[1]", '{"a": 1}', "[{}]", "null", '{"a": {'])
def test_a_file_of_another_form_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "prices.json"
    path.write_text(text)
    with pytest.raises(UnknownForm, match=r"prices\.json"):
        read_price_list(path, TODAY)


@pytest.mark.parametrize(
    "document",
    [
        {"gpt-5.4": LITELLM | {"input_cost_per_token": "cheap"}},
        {"gpt-5.4": LITELLM | {"input_cost_per_token": 1e30}},
        {"gpt-5.4": LITELLM | {"off_peak_pricing": 5}},
        genai(match={"regex": "("}),
        genai(match={"equals": "one", "contains": "one"}),
        genai(prices=[], match={"equals": "gpt-5.4"}),
        genai(prices={"input_mtok": {"base": 2, "tiers": []}}, match={"equals": "gpt-5.4"}),
        [{"id": "openai", "models": 5}],
    ],
)
def test_what_has_another_form_in_a_list_is_named(tmp_path: Path, document: object) -> None:
    path = tmp_path / "prices.json"
    path.write_text(json.dumps(document))
    arguments = argparse.Namespace(file=path, accept=None)
    with pytest.raises(UnknownForm, match=r"prices\.json: what it says of 'gpt-"):
        check_prices(arguments, SETTINGS)


def test_what_is_wrong_in_an_overlay_is_told_with_its_line(tmp_path: Path) -> None:
    overlay, path = tmp_path / "overlay.toml", tmp_path / "prices.json"
    overlay.write_text('[[model]]\nname = "new"\ninput = 1\n')
    path.write_text("{}")
    settings = msgspec.structs.replace(SETTINGS, catalogue_overlay=overlay)
    with pytest.raises(SettingsError, match=r"overlay\.toml:1: model 'new'"):
        check_prices(argparse.Namespace(file=path, accept=None), settings)


def test_differences_are_told_in_words() -> None:
    assert (
        Difference("a", "input", Decimal(2), Decimal("1.5")).told()["difference"]
        == "input: 2 here, 1.5 there: dearer here"
    )
    assert Difference("a", "input", Decimal(1), Decimal("1.5")).told()["difference"].endswith("cheaper here")
    assert Difference("a", "model", "one", None).told()["difference"] == "model: one is missing there"
    ended = Difference("a", "lifecycle", "active", "retired 2026-01-01").told()["difference"]
    assert ended == "lifecycle: active here, retired 2026-01-01 there"


def test_every_row_of_ours_has_prices_that_can_be_compared() -> None:
    for table in tables_in_force().models.values():
        prices = prices_of(table.fields, TODAY)
        assert {"input", "output"} <= set(prices), table.fields["name"]
    argon = tables_in_force().models["google-gemini-4-argon"].fields
    assert prices_of(argon, dt.date(2026, 11, 30))["output"] == 10
    assert prices_of(argon, dt.date(2026, 12, 1))["output"] == 20
