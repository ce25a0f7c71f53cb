from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from api.formats.native.answers import json_bytes
from api.formats.openai.codex import codex_model
from shared.catalogue.models import load_catalogue

SHIPPED = load_catalogue()
REQUIRED = {
    "slug": str,
    "display_name": str,
    "supported_reasoning_levels": list,
    "shell_type": str,
    "visibility": str,
    "supported_in_api": bool,
    "priority": int,
    "base_instructions": str,
    "supports_reasoning_summaries": bool,
    "support_verbosity": bool,
    "truncation_policy": dict,
    "supports_parallel_tool_calls": bool,
    "experimental_supported_tools": list,
}
"""Fields of Codex' `ModelInfo` that have no default, in any of its versions."""


def shown(name: str, overlay: Path | None = None) -> Any:
    catalogue = load_catalogue(overlay) if overlay else SHIPPED
    return json.loads(json_bytes(codex_model(catalogue.find(name), catalogue, 7)))


@pytest.mark.parametrize("name", [model.name for model in SHIPPED])
def test_every_field_that_codex_requires_is_there(name: str) -> None:
    model = shown(name)
    assert {field: type(model.get(field)) for field in REQUIRED} == REQUIRED
    assert model["base_instructions"]
    assert (model["shell_type"], model["truncation_policy"]) == ("default", {"mode": "bytes", "limit": 10_000})
    assert model["visibility"] in {"list", "hide"}


def test_limits_and_abilities_are_the_models_own() -> None:
    seeing, deaf, thinking = shown("gpt-4o"), shown("amazon-titan-text-lite-v1"), shown("o3-mini")
    assert (seeing["slug"], seeing["context_window"], seeing["priority"]) == ("openai-gpt-4o", 128_000, 7)
    assert (seeing["input_modalities"], deaf["input_modalities"]) == (["text", "image"], ["text"])
    assert (seeing["visibility"], deaf["visibility"]) == ("list", "hide")
    assert (seeing["supports_parallel_tool_calls"], deaf["supports_parallel_tool_calls"]) == (True, False)
    assert (seeing["apply_patch_tool_type"], deaf["apply_patch_tool_type"]) == ("freeform", None)
    assert (seeing["supported_reasoning_levels"], seeing["default_reasoning_level"]) == ([], None)
    assert [level["effort"] for level in thinking["supported_reasoning_levels"]] == ["low", "medium", "high"]
    assert thinking["default_reasoning_level"] == "medium"
    assert (seeing["supports_reasoning_summaries"], seeing["default_reasoning_summary"]) == (False, "none")
    assert (thinking["supports_reasoning_summaries"], thinking["default_reasoning_summary"]) == (True, "auto")


def test_efforts_are_those_that_go_with_tools() -> None:
    def levels(name: str) -> tuple[list[str], str | None]:
        model = shown(name)
        return [level["effort"] for level in model["supported_reasoning_levels"]], model["default_reasoning_level"]

    assert levels("gpt-5.5") == (["none", "low", "medium", "high", "xhigh"], "none")
    assert levels("gpt-5.2") == (["none", "low", "medium", "high", "xhigh"], "none")
    assert levels("openai-gpt-6-astra-bedrock") == (["low", "medium", "high", "xhigh"], "medium")
    assert levels("gpt-6-astra") == (["low", "medium", "high", "xhigh"], "medium")
    assert shown("gpt-6-astra")["visibility"] == "list"


def test_a_model_that_calls_tools_only_while_it_does_not_think_has_the_effort_none(tmp_path: Path) -> None:
    overlay = tmp_path / "overlay.toml"
    overlay.write_text('[[model]]\nname = "openai-gpt-5.2"\ntools_lack = ["reasoning"]\n')
    assert [level["effort"] for level in shown("gpt-5.2", overlay)["supported_reasoning_levels"]] == ["none"]


def test_with_a_successor_its_facts_are_told_under_the_name_that_was_asked(tmp_path: Path) -> None:
    overlay = tmp_path / "overlay.toml"
    overlay.write_text('[[model]]\nname = "openai-o1-mini"\nsuccessor = "gpt-4o"\n')
    model = shown("o1-mini", overlay)
    assert (model["slug"], model["description"]) == ("openai-o1-mini", "openai-gpt-4o of OpenAI")
    assert (model["visibility"], model["supported_reasoning_levels"]) == ("list", [])
