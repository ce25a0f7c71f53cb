"""Models that their vendor has replaced, and who serves their names."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from shared.catalogue.apis import by_its_api
from shared.catalogue.models import Catalogue, Model, load_catalogue
from shared.catalogue.thinking import thinks
from shared.chat import NO_TOOLS, Sampling, Tool, Tools
from shared.settings import SettingsError

GONE = "openai-o1"


def catalogue(folder: Path, text: str = "", *, use: bool = True) -> Catalogue:
    overlay = folder / "overlay.toml"
    overlay.write_text(text)
    return load_catalogue(overlay, use_successors=use)


def refused(folder: Path, text: str, *, use: bool = True) -> str:
    with pytest.raises(SettingsError) as error:
        catalogue(folder, text, use=use)
    return str(error.value)


def test_every_model_that_is_gone_says_what_replaces_it_and_that_is_there() -> None:
    shipped = load_catalogue()
    replaced = [model for model in shipped if model.replaced_by]
    assert len(replaced) == 37
    assert {model.name for model in shipped if model.lifecycle == "retired"} <= {model.name for model in replaced}
    for model in replaced:
        assert shipped.find(model.replaced_by or "").lifecycle in {"active", "legacy"}
        assert shipped.find(model.replaced_by or "").replaced_by is None


def test_nothing_is_served_by_another_model_unless_an_operator_says_so() -> None:
    shipped = load_catalogue()
    for model in shipped:
        assert model.successor is None
        assert shipped.serving(model.name) == model


def test_one_setting_puts_all_replacements_in_force(tmp_path: Path) -> None:
    for model in catalogue(tmp_path):
        assert model.successor == model.replaced_by
    served = catalogue(tmp_path).serving("claude-2.1")
    assert (served.name, served.price) == (
        "anthropic-claude-sonnet-4-6",
        load_catalogue().find("anthropic-claude-sonnet-4-6").price,
    )


@pytest.mark.parametrize(
    ("successor", "api", "api_with_tools"),
    [
        ("gpt-5.2", "openai-chat", "openai-chat"),
        ("gpt-5.4", "openai-chat", "openai-responses"),
        ("gpt-5.5", "openai-chat", "openai-responses"),
        ("deepseek-flash", "deepseek-chat", "deepseek-chat"),
        ("openai-gpt-6-luna-bedrock", "bedrock-converse", "bedrock-converse"),
    ],
)
def test_a_successor_of_a_model_that_always_thought_thinks_beside_tools_too(
    tmp_path: Path, successor: str, api: str, api_with_tools: str
) -> None:
    tools = Tools(offered=(Tool(name="clock"),))
    for name, thought in ((GONE, True), ("openai-gpt-4o-mini", False)):
        served = catalogue(tmp_path, f'[[model]]\nname = "{name}"\nsuccessor = "{successor}"\n').serving(name)
        assert msgspec.msgpack.decode(msgspec.msgpack.encode(served), type=Model) == served
        assert thinks(served, None) == thought
        assert by_its_api(served, Sampling(), NO_TOOLS).api == api
        assert by_its_api(served, Sampling(), tools).api == (api_with_tools if thought else api)
        assert (served.thinking == "medium") == (thought and served.provider == "openai")


def test_a_rows_own_successor_goes_before_its_replacement(tmp_path: Path) -> None:
    text = f'[[model]]\nname = "{GONE}"\nsuccessor = "gpt-4o"\n'
    for use in (False, True):
        model = catalogue(tmp_path, text, use=use).find(GONE)
        assert (model.successor, model.replaced_by) == ("openai-gpt-4o", "openai-gpt-5.2")


def test_an_overlay_may_name_another_replacement_or_none(tmp_path: Path) -> None:
    other = catalogue(tmp_path, f'[[model]]\nname = "{GONE}"\nreplaced_by = "gpt-5.5"\n').find(GONE)
    assert (other.successor, other.replaced_by) == ("openai-gpt-5.5", "openai-gpt-5.5")
    none = catalogue(tmp_path, f'[[model]]\nname = "{GONE}"\nreplaced_by = ""\n').find(GONE)
    assert (none.successor, none.replaced_by) == (None, None)


def test_a_replacement_that_was_replaced_leads_to_the_last_one(tmp_path: Path) -> None:
    text = '[[model]]\nname = "openai-gpt-5.2"\nreplaced_by = "gpt-5.5"\n'
    assert catalogue(tmp_path, text).serving(GONE).name == "openai-gpt-5.5"
    chosen = '[[model]]\nname = "openai-gpt-5.2"\nsuccessor = "gpt-5.5"\n'
    assert catalogue(tmp_path, chosen).serving(GONE).name == "openai-gpt-5.5"


def test_a_replacement_that_makes_no_sense_is_refused_where_it_stands(tmp_path: Path) -> None:
    unknown = refused(tmp_path, f'[[model]]\nname = "{GONE}"\nreplaced_by = "gpt-50"\n', use=False)
    assert "overlay.toml:3: model 'openai-o1': `replaced_by` is 'gpt-50', which is no model here" in unknown
    back = refused(tmp_path, '[[model]]\nname = "openai-gpt-5.2"\nreplaced_by = "o1"\n', use=False)
    assert "`replaced_by` leads back: openai-gpt-5.2 → openai-o1 → openai-gpt-5.2" in back


def test_who_takes_the_place_of_a_model_that_thinks_does_so_too(tmp_path: Path) -> None:
    catalogue = load_catalogue(use_successors=True)
    reasoner, flash = catalogue.serving("deepseek-reasoner"), catalogue.serving("deepseek-flash")
    assert (reasoner.name, reasoner.thinking, flash.thinking) == ("deepseek-flash", None, "disabled")
    assert catalogue.serving("deepseek-chat").thinking == "disabled"
