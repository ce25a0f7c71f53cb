from __future__ import annotations

from pathlib import Path

import pytest

from shared.catalogue.models import Catalogue, load_catalogue
from shared.errors import ModelNotFound
from shared.settings import SettingsError

ROW = """
[[model]]
name = "{name}"
company = "Acme"
provider = "openai"
api = "openai-chat"
upstream = "{upstream}"
input = 1
output = 2
context_window = 1000
max_output_tokens = 100
limit_parameter = "max_tokens"
lifecycle = "active"
sources = "made up"
"""
ELSEWHERE = 'base_url = "https://acme.example/v1"\nkey_variable = "ACME_KEY"\n'


@pytest.fixture(scope="module")
def catalogue() -> Catalogue:
    return load_catalogue()


def _with(folder: Path, text: str) -> Catalogue:
    overlay = folder / "overlay.toml"
    overlay.write_text(text)
    return load_catalogue(overlay)


def _refused(folder: Path, text: str) -> str:
    with pytest.raises(SettingsError) as refused:
        _with(folder, text)
    return str(refused.value)


def test_a_name_leads_to_its_model_and_no_listed_alias_to_another(catalogue: Catalogue) -> None:
    for model in catalogue:
        names = (model.name, model.vendor_model, *catalogue.aliases_of(model))
        assert {catalogue.find(name).name for name in names} == {model.name}


@pytest.mark.parametrize(
    ("name", "public"),
    [
        ("gpt-4o", "openai-gpt-4o"),
        ("gpt-4o-2024-08-06", "openai-gpt-4o"),
        ("claude-3-5-haiku-latest", "anthropic-claude-3-5-haiku"),
        ("claude-3-5-sonnet-latest", "anthropic-claude-3-5-sonnet-v2"),
        ("claude-3-5-sonnet-20240620", "anthropic-claude-3-5-sonnet"),
        ("anthropic.claude-3-5-sonnet-20241022-v2:0", "anthropic-claude-3-5-sonnet-v2"),
        ("anthropic.claude-3-5-sonnet-20241022-v2", "anthropic-claude-3-5-sonnet-v2"),
        ("us.anthropic.claude-3-5-sonnet-20241022-v2:0", "anthropic-claude-3-5-sonnet-v2"),
        ("meta.llama3-2-1b-instruct-v1:0", "meta-llama3-2-1b"),
        ("eu.meta.llama3-2-1b-instruct-v1", "meta-llama3-2-1b"),
        ("anthropic.claude-v2:1", "anthropic-claude-2-1"),
        ("openai/gpt-4o", "openai-gpt-4o"),
        ("openai/openai-gpt-4o", "openai-gpt-4o"),
        ("anthropic/claude-3.5-sonnet", "anthropic-claude-3-5-sonnet-v2"),
        ("bedrock/us.amazon.nova-pro-v1:0", "amazon-nova-pro"),
        ("amazon/nova-pro-v1", "amazon-nova-pro"),
        ("meta-llama/Llama-3.3-70B-Instruct", "meta-llama3-3-70b"),
        ("mistralai/mixtral-8x7b-instruct", "mistral-mistral-8x7b"),
        ("deepseek/deepseek-chat", "deepseek-chat"),
        ("google/gemini-2.0-flash-001", "google-gemini-2.0-flash"),
        ("gemini/gemini-1.5-pro", "google-gemini-1.5-pro"),
        ("models/gemini-1.5-pro", "google-gemini-1.5-pro"),
        ("gpt-6-astra", "openai-gpt-6-astra"),
        ("openai.gpt-6-astra", "openai-gpt-6-astra-bedrock"),
        ("us.openai.gpt-6.1-sol", "openai-gpt-6.1-sol-bedrock"),
        ("gpt-5.5", "openai-gpt-5.5"),
        ("openai.gpt-oss-120b-1", "openai-gpt-oss-120b"),
        ("anthropic/claude-opus-5.5", "anthropic-claude-opus-5-5"),
        ("eu.anthropic.claude-sonnet-5-5", "anthropic-claude-sonnet-5-5"),
        ("anthropic.claude-haiku-4-5-20251001-v1", "anthropic-claude-haiku-4-5"),
        ("meta-llama/Llama-4-Scout-17B-16E-Instruct", "meta-llama4-scout"),
        ("Qwen/Qwen3-32B", "qwen-qwen3-32b"),
        ("moonshotai/kimi-k3.1", "moonshot-kimi-k3.1"),
        ("z-ai/glm-5.3", "zai-glm-5.3"),
        ("MiniMaxAI/MiniMax-M2.5", "minimax-m2.5"),
        ("x-ai/grok-4.7", "xai-grok-4.7"),
        ("deepseek-v4-flash", "deepseek-flash"),
    ],
)
def test_a_model_answers_to_what_clients_call_it(catalogue: Catalogue, name: str, public: str) -> None:
    assert catalogue.find(name).name == catalogue.public_name(name) == public


@pytest.mark.parametrize(
    "name",
    ["", "/", "/gpt-4o", "openai/", "bedrock/gpt-4o", "google/gpt-4o", "us.gpt-4o", "gpt-4o:0", "openai/openai/gpt-4o"],
)
def test_what_only_looks_like_a_name_is_none(catalogue: Catalogue, name: str) -> None:
    assert catalogue.public_name(name) == name
    with pytest.raises(ModelNotFound):
        catalogue.find(name)


@pytest.mark.parametrize(
    ("asked", "near"),
    [
        ("GPT-4O-MINI", "openai-gpt-4o-mini"),
        ("claude-3-5-sonet-20241022", "anthropic-claude-3-5-sonnet-v2"),
        ("gemini-1.5-flash-9b", "google-gemini-1.5-flash-8b"),
    ],
)
def test_an_unknown_name_is_told_the_nearest_public_ones(catalogue: Catalogue, asked: str, near: str) -> None:
    with pytest.raises(ModelNotFound, match=rf"'{asked}'\. The nearest are .*\b{near}.*; GET /v1/models lists") as told:
        catalogue.find(asked, "/v1/models")
    assert told.value.message.count(",") <= 2


@pytest.mark.parametrize("name", ["anthropic.claude-" * 100_000, "ŉ" * 1_000_000, "\0" * 1_000_000])
def test_a_hostile_name_is_answered_shortly(catalogue: Catalogue, name: str) -> None:
    with pytest.raises(ModelNotFound) as told:
        catalogue.find(name)
    assert len(told.value.message) < 600


def test_a_name_that_an_operator_gives_a_model_is_no_alias_of_another_any_more(tmp_path: Path) -> None:
    catalogue = _with(tmp_path, ROW.format(name="gpt-4o", upstream="acme-1"))
    assert catalogue.find("gpt-4o").vendor_model == "acme-1"
    assert "gpt-4o" not in catalogue.aliases_of(catalogue.find("openai-gpt-4o"))


@pytest.mark.parametrize("taken", ["gpt-4o", "openai-gpt-4o"])
def test_an_alias_that_is_a_name_already_is_refused_with_both_rows(tmp_path: Path, taken: str) -> None:
    said = _refused(tmp_path, '[[model]]\nname = "amazon-nova-pro"\ninput = 1\naliases = ["nova", "' + taken + '"]')
    assert (
        f"overlay.toml:4: model 'amazon-nova-pro': `aliases` has '{taken}', which is a name of 'openai-gpt-4o'" in said
    )


@pytest.mark.parametrize("alias", ["", "a b", "a\n", "ä", "-a", "a" * 201])
def test_an_alias_that_no_client_could_write_is_refused(tmp_path: Path, alias: str) -> None:
    said = _refused(tmp_path, f'[[model]]\nname = "openai-gpt-4o"\naliases = ["""{alias}"""]')
    assert "overlay.toml:3: model 'openai-gpt-4o'" in said


def test_an_overlay_takes_an_alias_over_by_taking_it_from_the_other_row(tmp_path: Path) -> None:
    mine = '[[model]]\nname = "openai-gpt-4o"\naliases = []\n' + ROW.format(name="acme", upstream="acme-1")
    catalogue = _with(tmp_path, mine + 'aliases = ["gpt-4o", "acme/large@2"]\n')
    assert catalogue.find("gpt-4o").name == catalogue.find("acme/large@2").name == "acme"
    assert catalogue.aliases_of(catalogue.find("openai-gpt-4o")) == ("gpt-4o-2024-08-06",)


def test_a_vendors_id_means_the_vendors_own_api_and_not_another_host_of_it(tmp_path: Path) -> None:
    other = ROW.format(name="acme", upstream="gpt-4o-2024-08-06") + ELSEWHERE
    catalogue = _with(tmp_path, other)
    assert catalogue.find("gpt-4o-2024-08-06").name == "openai-gpt-4o"
    assert catalogue.aliases_of(catalogue.find("acme")) == ()
    moved = '[[model]]\nname = "openai-gpt-4o"\n' + ELSEWHERE + ROW.format(name="own", upstream="gpt-4o-2024-08-06")
    assert _with(tmp_path, moved).find("gpt-4o-2024-08-06").name == "own"


def test_an_alias_goes_before_another_rows_id_of_the_vendor(tmp_path: Path) -> None:
    catalogue = _with(tmp_path, ROW.format(name="acme", upstream="gpt-4o"))
    assert catalogue.find("gpt-4o").name == "openai-gpt-4o"


def test_a_successor_may_be_an_alias_and_is_shown_by_its_public_name(tmp_path: Path) -> None:
    catalogue = _with(tmp_path, '[[model]]\nname = "openai-o1"\nsuccessor = "gpt-4o"\n')
    assert catalogue.find("o1").successor == "openai-gpt-4o"
    assert catalogue.serving("o1").name == "openai-gpt-4o"
    assert "which is no model here" in _refused(tmp_path, '[[model]]\nname = "openai-o1"\nsuccessor = "gpt-40"\n')
    assert "has a successor itself" in _refused(tmp_path, '[[model]]\nname = "openai-o1"\nsuccessor = "o1"\n')
