from __future__ import annotations

from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.catalogue.files import FILES
from shared.catalogue.listing import facts_of
from shared.catalogue.models import Catalogue, load_catalogue
from shared.errors import ModelNotFound
from shared.money import Price, Usage, price_from_usd
from shared.settings import SettingsError
from shared.vendors import PROVIDERS

NEW_MODEL = """
[[model]]
name = "acme-one"
company = "Acme"
provider = "openai"
api = "openai-chat"
upstream = "acme-1"
input = 1
output = 2.5
context_window = 1000
max_output_tokens = 100
limit_parameter = "max_tokens"
lifecycle = "active"
sources = "made up"
"""


@pytest.fixture(scope="module")
def catalogue() -> Catalogue:
    return load_catalogue()


@pytest.fixture
def overlay(tmp_path: Path) -> Path:
    return tmp_path / "overlay.toml"


def _with(overlay: Path, text: str, factor: str = "1") -> Catalogue:
    overlay.write_text(text, encoding="utf-8")
    return load_catalogue(overlay, Decimal(factor))


def test_all_111_models_are_there_and_each_has_a_price(catalogue: Catalogue) -> None:
    assert len(catalogue) == 111
    for model in catalogue:
        assert model.price.input > 0, model.name
        assert model.price.output > 0, model.name
        assert model.provider in PROVIDERS


def test_every_file_of_the_folder_is_read() -> None:
    assert set(FILES) == set(FILES[0].parent.glob("*.toml"))


def test_no_two_models_have_the_same_name(catalogue: Catalogue) -> None:
    assert len({model.name for model in catalogue}) == len(catalogue)


def test_a_model_that_is_not_there_is_named(catalogue: Catalogue) -> None:
    with pytest.raises(ModelNotFound, match="'gpt-5-turbo-pro'"):
        catalogue.find("gpt-5-turbo-pro")


def test_a_very_long_name_is_not_repeated_in_full(catalogue: Catalogue) -> None:
    with pytest.raises(ModelNotFound) as missing:
        catalogue.find("x" * 1_000_000)
    assert len(missing.value.message) < 300


def test_an_overlay_changes_only_the_fields_it_gives(catalogue: Catalogue, overlay: Path) -> None:
    changed = _with(overlay, '[[model]]\nname = "openai-gpt-4o"\nupstream = "gpt-9"\n')
    before, after = catalogue.find("openai-gpt-4o"), changed.find("openai-gpt-4o")
    assert after == msgspec.structs.replace(before, vendor_model="gpt-9")
    assert [model.name for model in changed] == [model.name for model in catalogue]


def test_an_overlay_adds_a_model(overlay: Path) -> None:
    added = _with(overlay, NEW_MODEL)
    assert len(added) == 112
    assert added.find("acme-one").price == Price(1_000_000_000, 2_500_000_000)


def test_a_customer_pays_the_vendors_price_times_both_factors(overlay: Path) -> None:
    model = _with(overlay, NEW_MODEL + "price_factor = 1.5\n", factor="1.2").find("acme-one")
    assert model.vendor_price == Price(1_000_000_000, 2_500_000_000)
    assert model.price == Price(1_800_000_000, 4_500_000_000)


def test_the_price_version_changes_with_either_price_and_with_nothing_else(overlay: Path) -> None:
    version = _with(overlay, NEW_MODEL).find("acme-one").price_version
    assert _with(overlay, NEW_MODEL.replace("acme-1", "acme-2")).find("acme-one").price_version == version
    assert _with(overlay, NEW_MODEL.replace("2.5", "2.6")).find("acme-one").price_version != version
    assert _with(overlay, NEW_MODEL, factor="1.1").find("acme-one").price_version != version


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        (NEW_MODEL.replace("input = 1\n", ""), "acme-one.*`input` is missing: it takes a number"),
        (NEW_MODEL.replace("output = 2.5", "output = -2.5"), "acme-one.*negative"),
        (NEW_MODEL.replace("output = 2.5", 'output = "cheap"'), "acme-one.*`output` takes a number"),
        (NEW_MODEL.replace("output = 2.5", "output = 0.00000000001"), "acme-one.*decimals"),
        (NEW_MODEL.replace("output = 2.5", "output = nan"), "acme-one"),
        (NEW_MODEL.replace("context_window = 1000", "context_window = 0"), "acme-one.*takes a whole number from 1 to"),
        (NEW_MODEL + "price_changes = [{ input = 1 }]\n", r"`price_changes\[0\].from` is missing: it takes a day"),
        (NEW_MODEL + "ends_on = 'soon'\n", "`ends_on` takes a day such as"),
        (NEW_MODEL + "reasoning_efforts = ['much']\n", r"`reasoning_efforts\[0\]` takes one of high"),
        (NEW_MODEL + "off_peak = { factor = 1, peak = ['noon'] }\n", r"`off_peak.peak\[0\]` takes hours such as"),
        (NEW_MODEL + "contxt_window = 1\n", "acme-one.*`contxt_window` is no field of it: write `context_window`"),
        (NEW_MODEL.replace('"openai"\n', '"acme"\n'), "acme-one.*`provider` takes one of bedrock"),
        (NEW_MODEL.replace("acme-one", "Acme One"), "Acme One"),
        ("[[model]]\ninput = 1\n", "no `name`"),
        ("model = 1\n", r"\[\[model\]\]"),
        ("[other]\n", r"\[\[model\]\]"),
        ("[[model\n", "overlay.toml"),
        ("model = [1]\n", r"\[\[model\]\]"),
    ],
)
def test_a_wrong_overlay_is_refused_with_file_and_reason(overlay: Path, wrong: str, reason: str) -> None:
    with pytest.raises(SettingsError, match=f"(?s)overlay.toml.*{reason}|{reason}"):
        _with(overlay, wrong)


def test_a_listed_price_is_an_exact_json_number(overlay: Path) -> None:
    catalogue = _with(overlay, NEW_MODEL.replace("2.5", "0.1"))
    listed = msgspec.json.encode(facts_of(catalogue, catalogue.find("acme-one")))
    assert b'"output_usd_per_mtok":0.1,' in listed


@pytest.mark.parametrize(
    ("overlay", "said"),
    [
        ('model = [{name = "openai-gpt-4o", input = 3}]', "[[model]]"),
        ('[[model]]\nname = "openai-gpt-4o"\napi = "foo"', ":3: model 'openai-gpt-4o': `api`"),
        ('[[model]]\nname = "amazon-nova-pro"\napi = "openai-chat"', ":3: model 'amazon-nova-pro': `api`"),
        (
            '[[model]]\nname = "deepseek-chat"\napi = "openai-chat"',
            ":3: model 'deepseek-chat': `api` 'openai-chat' is none of provider deepseek: it has deepseek-chat",
        ),
        ('[[model]]\nname = "openai-gpt-4o"\nmax_output_tokens = 99999999', ":3: model 'openai-gpt-4o': `max_output"),
        ('[[model]]\nname = "openai-gpt-4o"\nprice_factor = 1e40', ":3: model 'openai-gpt-4o': `price_factor`"),
        ('[[model]]\nname = "openai-gpt-4o"\nprice_factor = 1e-1000', ":3: model 'openai-gpt-4o': `price_factor`"),
        (
            '[[model]]\nname = "openai-gpt-4o"\ncontext_window = 100000001',
            ":3: model 'openai-gpt-4o': `context_window` takes a whole number from 1 to 100,000,000",
        ),
        (
            '[[model]]\nname = "openai-gpt-4o"\nimage_tokens = 1000001',
            ":3: model 'openai-gpt-4o': `image_tokens` takes a whole number from 1 to 1,000,000",
        ),
        ('[[model]]\nname = "openai-gpt-4o"\n\ninput = -1', ":4: model 'openai-gpt-4o': `input`"),
        (
            '[[model]]\nname = "openai-gpt-4o"\nthinking = "low"',
            ":3: model 'openai-gpt-4o': `thinking` is 'low': with api 'openai-chat' it takes none",
        ),
        (
            '[[model]]\nname = "a21-jurassic-2-mid"\nthinking = "none"',
            ":3: model 'a21-jurassic-2-mid': `thinking` is 'none': with api 'bedrock-invoke' it takes nothing",
        ),
        (
            '[[model]]\nname = "openai-gpt-4o"\ntools_lack = ["reasoning"]',
            ":3: model 'openai-gpt-4o': `tools_lack` has 'reasoning', which goes with `thinking` of 'none' only",
        ),
        (
            '[[model]]\nname = "openai-gpt-4o"\nsecond_api = "gemini"',
            ":3: model 'openai-gpt-4o': `second_api` 'gemini' is none of provider openai: it has openai-chat, openai-re",
        ),
        (
            '[[model]]\nname = "openai-o1-mini"\nsecond_api = "openai-responses"',
            ":3: model 'openai-o1-mini': `second_api` goes with a model with `tools` only",
        ),
        (
            '[[model]]\nname = "openai-gpt-4o"\nno_tools_because = "so"',
            ":3: model 'openai-gpt-4o': `no_tools_because` goes with a model without `tools` only",
        ),
        (
            '[[model]]\nname = "meta-llama4-scout"\nreasoning_efforts = ["low"]',
            ":3: model 'meta-llama4-scout': `reasoning_efforts` go with a model of api 'openai-chat' or",
        ),
    ],
)
def test_an_overlay_that_makes_no_sense_is_refused_where_it_stands(tmp_path: Path, overlay: str, said: str) -> None:
    path = tmp_path / "overlay.toml"
    path.write_text(overlay)
    with pytest.raises(SettingsError) as refused:
        load_catalogue(path)
    assert said in str(refused.value)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-8"])
def test_an_overlay_may_begin_with_a_mark(overlay: Path, encoding: str) -> None:
    overlay.write_text('[[model]]\nname = "openai-gpt-4o"\ninput = 3 # é', encoding=encoding)
    assert load_catalogue(overlay).find("openai-gpt-4o").price.input == 3_000_000_000


@pytest.mark.parametrize(("encoding", "said"), [("utf-16", "in UTF-16"), ("latin-1", "byte 0xe9 in line 3")])
def test_an_overlay_in_another_encoding_is_refused_with_words_that_say_so(
    overlay: Path, encoding: str, said: str
) -> None:
    overlay.write_text('[[model]]\nname = "openai-gpt-4o"\ninput = 3 # é', encoding=encoding)
    with pytest.raises(SettingsError, match=rf"overlay\.toml is .*{said}.*: save it as UTF-8"):
        load_catalogue(overlay)


def test_prices_may_stand_in_another_currency() -> None:
    dear = load_catalogue(price_factor=Decimal(1000)).find("openai-o1").price
    assert dear.input == 1000 * load_catalogue().find("openai-o1").price.input


prices = st.decimals(0, 1_000, places=4)


@given(
    prices, prices, st.fractions(0, 1), st.decimals(0, 1_000, places=3), st.integers(0, 10**7), st.integers(0, 10**6)
)
def test_what_is_held_is_never_less_than_what_any_usage_within_its_bounds_costs(
    input_usd: Decimal, output_usd: Decimal, share: Fraction, factor: Decimal, input_bound: int, output_limit: int
) -> None:
    """`share` of the input was cached, which costs more than the rest of it."""
    vendor = Price(price_from_usd(input_usd), price_from_usd(output_usd), 2 * price_from_usd(input_usd))
    price = vendor.times(factor)
    hold = price.hold(input_bound, output_limit)
    assert price.cost(Usage(input_bound, output_limit, cached=int(share * input_bound))) <= hold
