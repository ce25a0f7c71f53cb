"""Which upstreams a model has: by an overlay's rows, by its own row, or the usual one of its vendor."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from shared.catalogue.models import Catalogue, load_catalogue
from shared.settings import SettingsError
from shared.vendors import PROVIDERS

EU = """
[[upstream]]
name = "openai-eu"
provider = "openai"
key_variable = "OPENAI_EU_KEY"
base_url = "https://eu.api.openai.com/v1"
models = ["gpt-4o", "openai-gpt-4o-mini"]
model_ids = { "gpt-4o" = "gpt-4o-eu" }
cost_factor = 1.1
weight = 3
priority = 2
"""
ANY = '[[upstream]]\nname = "openai-any"\nprovider = "openai"\nkey_variable = "OPENAI_API_KEY"\n'
ACME = """
[[model]]
name = "openai-gpt-4o"
base_url = "https://user:secret@acme.example:8443/v1"
key_variable = "ACME_KEY"
"""
FILE = """
[[upstream]]
name = "a-file"
provider = "openai"
key_file = "/run/keys/one"
base_url = "https://a.example/v1"
"""
OF_ACME = ACME.replace("[[model]]", "[[upstream]]").replace(
    'name = "openai-gpt-4o"', 'name = "again"\nprovider = "openai"'
)
OF_ACME = OF_ACME.replace("ACME_KEY", "OPENAI_ACME_KEY") + 'models = ["openai-gpt-4o"]\n'


@pytest.fixture
def overlay(tmp_path: Path) -> Path:
    return tmp_path / "overlay.toml"


def _with(overlay: Path, text: str) -> Catalogue:
    overlay.write_text(text, encoding="utf-8")
    return load_catalogue(overlay)


def _names(catalogue: Catalogue, model: str) -> list[str]:
    return [one.name for one in catalogue.upstreams.of(catalogue.find(model))]


def test_without_rows_every_vendor_has_one() -> None:
    catalogue = load_catalogue()
    assert catalogue.upstreams.rows == ()
    assert {model.provider: _names(catalogue, model.name) for model in catalogue if model.region is None} == {
        provider: [provider] for provider in PROVIDERS
    }


def test_a_row_says_which_models_it_is_for_and_how_they_are_called_there(overlay: Path) -> None:
    catalogue = _with(overlay, EU + ANY)
    assert _names(catalogue, "openai-gpt-4o") == ["openai-eu", "openai-any"]
    assert _names(catalogue, "openai-gpt-5.5") == ["openai-any"]
    model, (eu, _) = catalogue.find("openai-gpt-4o"), catalogue.upstreams.rows
    assert eu.called(model) == msgspec.structs.replace(model, vendor_model="gpt-4o-eu")
    assert (eu.weight, eu.priority, str(eu.cost_factor)) == (3, 2, "1.1")


def test_where_rows_are_given_only_they_count(overlay: Path) -> None:
    catalogue = _with(overlay, EU)
    assert _names(catalogue, "openai-gpt-5.5") == []
    assert _names(catalogue, "deepseek-chat") == ["deepseek"]


def test_a_models_own_row_stands_for_an_upstream_of_its_own(overlay: Path) -> None:
    catalogue = _with(overlay, ACME + ANY)
    assert _names(catalogue, "openai-gpt-4o") == ["acme-key@acme.example:8443/v1"], "without who is named in it"
    assert _names(load_catalogue(), "meta-llama3-3-70b") == ["bedrock@us-east-2"]


def test_rows_that_name_such_a_model_serve_it_as_well(overlay: Path) -> None:
    named = ANY + 'models = ["openai-gpt-4o"]\n'
    assert _names(_with(overlay, ACME + named), "openai-gpt-4o") == ["acme-key@acme.example:8443/v1", "openai-any"]


def test_a_region_serves_models_that_are_there(overlay: Path) -> None:
    rows = [f'[[upstream]]\nname = "aws-{region}"\nprovider = "bedrock"\nregion = "{region}"\n' for region in "ab"]
    there = '[[model]]\nname = "meta-llama3-3-70b"\nregion = "b"\n'
    catalogue = _with(overlay, there + "".join(rows))
    assert _names(catalogue, "amazon-nova-lite") == ["aws-a", "aws-b"]
    assert _names(catalogue, "meta-llama3-3-70b") == ["aws-b"]
    nova, (first, _) = catalogue.find("amazon-nova-lite"), catalogue.upstreams.rows
    assert first.called(nova).region == "a"


def test_an_api_limits_a_row(overlay: Path) -> None:
    catalogue = _with(overlay, ANY + 'api = "openai-responses"\n')
    chat = catalogue.find("openai-gpt-5.5")
    assert catalogue.upstreams.of(chat) == ()
    assert catalogue.upstreams.of(msgspec.structs.replace(chat, api="openai-responses")) == catalogue.upstreams.rows


def test_a_fingerprint_changes_with_whatever_the_row_says(overlay: Path) -> None:
    (row,) = _with(overlay, EU).upstreams.rows
    (same,) = _with(overlay, EU).upstreams.rows
    (other,) = _with(overlay, EU.replace("weight = 3", "weight = 4")).upstreams.rows
    assert row.fingerprint == same.fingerprint != other.fingerprint


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (EU.replace("OPENAI_EU_KEY", "EU_KEY"), ":5: upstream 'openai-eu': `key_variable` EU_KEY .*OPENAI_"),
        (EU.replace('key_variable = "OPENAI_EU_KEY"\n', ""), "`base_url` needs"),
        (EU + 'key_file = "/k"\n', "`key_file` and `key_variable`"),
        ('[[upstream]]\nname = "a"\nprovider = "openai"\nkey_file = ""\n', ":4: upstream 'a': `key_file` is empty"),
        (
            EU.replace('"openai-eu"', '"openai-own-key"')
            + '[[model]]\nname = "openai-gpt-4o"\nkey_variable = "OPENAI_OWN_KEY"\n',
            "`name` is that of the upstream which model 'openai-gpt-4o' has by its own",
        ),
        (EU + 'region = "eu"\n', "`region` goes with provider bedrock"),
        (EU + 'api = "gemini"\n', "`api` 'gemini'.*openai-chat"),
        (EU.replace('"gpt-4o", ', '"gpt-4p", '), "`models` has 'gpt-4p'.*nearest"),
        (EU.replace('"gpt-4o", ', '"deepseek-chat", '), "'deepseek-chat'.*provider deepseek"),
        (EU.replace('{ "gpt-4o" =', '{ "gpt-5.5" ='), "`model_ids` has 'openai-gpt-5.5'"),
        (EU.replace("1.1", "-1"), "`cost_factor`"),
        (EU.replace("weight = 3", "weight = 0"), ":10: .*`weight` takes a whole number from 1 to 1,000"),
        (EU.replace("weight = 3", 'weight = "3"'), "`weight` takes a whole number from 1 to 1,000"),
        (EU.replace("weight = 3", "wieght = 3"), ":10: .*`wieght` is no field of it: write `weight`"),
        (EU.replace('provider = "openai"\n', ""), "`provider` is missing: it takes one of bedrock"),
        (EU.replace('["gpt-4o", "openai-gpt-4o-mini"]', '"gpt-4o"'), "`models` takes a list"),
        (EU.replace('"gpt-4o", ', "4, "), r"`models\[0\]` takes text"),
        (EU.replace('"gpt-4o-eu"', '""'), "each of `model_ids` takes text that is not empty"),
        (EU.replace("1.1", '"much"'), "`cost_factor` takes a number"),
        (EU.replace('"openai-eu"', '"deepseek"'), "`name` is another provider's"),
        (EU.replace('"openai-eu"', '"Open AI"'), "name"),
        (EU + 'colour = "red"\n', "`colour` is no field of it: it takes name, provider, "),
        (EU + EU, "twice"),
        ("upstream = 1\n", r"\[\[upstream\]\]"),
        (EU.replace("[[upstream]]", "[[upstreams]]"), r"has 'upstreams': write \[\[upstream\]\]"),
        (EU.replace('"gpt-4o", ', '"gpt-4o", "openai-gpt-4o", '), "`models` has two names of one model"),
        (EU.replace("eu.api", "eu..api"), "`base_url` takes an address"),
        (ACME.replace("user:secret@acme.example:8443/v1", ""), "model 'openai-gpt-4o': `base_url` takes an address"),
        (ANY + '[[upstream]]\nname = "usual"\nprovider = "openai"\n', "'usual': .* are those of upstream 'openai-any'"),
        (EU.replace('name = "openai-eu"\n', ""), r":2: this \[\[upstream\]\] has no `name`"),
        (EU.replace('"openai-eu"', '"eu\\n"'), "`name` takes up to 64 small letters"),
        (EU.replace('"openai"', '"azure"'), "`provider` takes one of bedrock, deepseek, gemini, openai"),
        (EU.replace("OPENAI_EU_KEY", "openai key"), "`key_variable` takes the name of a variable"),
        *(
            (
                EU.replace("https://eu.api.openai.com/v1", address),
                ":6: upstream 'openai-eu': `base_url` takes an address",
            )
            for address in (
                "https://",
                "https://:443/v1",
                "https://a b/v1",
                "ftp://a",
                "https://-a",
                "https://a:x/",
                "https://a\\n",
            )
        ),
        (EU.replace('{ "gpt-4o" =', '{ "openai-gpt-4o" = "x", "gpt-4o" ='), "two ids for one model"),
        (EU.replace('["gpt-4o", "openai-gpt-4o-mini"]', "[]").replace("model_ids", "# model_ids"), "`models` is empty"),
        (ANY + ANY.replace("openai-any", "again"), "upstream 'again': .*those of upstream 'openai-any'"),
        *(
            (FILE + FILE.replace("a-file", "again").replace(written, other), "'again': .*those of upstream 'a-file'")
            for written, other in (
                ("/run/keys/one", "/run//keys/./one"),
                ("/run/keys/one", "//run/other/../keys/one"),
                ("a.example/v1", "A.example/v1"),
                ("a.example/v1", "a.example:443/v1/"),
                ("a.example/v1", "a.example.//v1"),
            )
        ),
        (
            ACME.replace("ACME_KEY", "OPENAI_ACME_KEY") + OF_ACME,
            "'again': .*those of upstream 'openai-acme-key@acme.example:8443/v1'",
        ),
    ],
)
def test_what_is_wrong_in_a_row_is_named(overlay: Path, row: str, reason: str) -> None:
    with pytest.raises(SettingsError, match=reason):
        _with(overlay, row)
