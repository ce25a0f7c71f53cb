from __future__ import annotations

from pathlib import Path

import pytest

from deploy.local.vendors import for_workers, how_rows_are_called, simulated_vendors, without_vendors

SIMULATOR = "http://127.0.0.1:9999"


def _simulated(**environment: str) -> set[str]:
    return {vendor.title for vendor in simulated_vendors(environment)}


def test_without_keys_every_vendor_is_simulated() -> None:
    assert _simulated() == {"OpenAI", "DeepSeek", "Gemini", "Bedrock"}


@pytest.mark.parametrize(
    ("variable", "vendor"),
    [
        ("OPENAI_API_KEY", "OpenAI"),
        ("DEEPSEEK_API_KEY", "DeepSeek"),
        ("GEMINI_API_KEY", "Gemini"),
        ("AWS_ACCESS_KEY_ID", "Bedrock"),
        ("AWS_PROFILE", "Bedrock"),
        ("AWS_BEARER_TOKEN_BEDROCK", "Bedrock"),
        ("AWS_ENDPOINT_URL_BEDROCK_RUNTIME", "Bedrock"),
    ],
)
def test_a_vendors_own_variable_makes_that_one_real(variable: str, vendor: str) -> None:
    assert vendor not in _simulated(**{variable: "set"})
    assert len(_simulated(**{variable: "set"})) == 3
    assert for_workers({variable: "set"}, SIMULATOR)[variable] == "set"


@pytest.mark.parametrize("variable", ["OPENAI_BASE_URL", "AWS_REGION", "GOOGLE_API_KEY", "AWS_SHARED_CREDENTIALS_FILE"])
def test_any_other_variable_does_not(variable: str) -> None:
    assert len(_simulated(**{variable: "set"})) == 4
    assert "set" not in for_workers({variable: "set"}, SIMULATOR).values()


def test_an_empty_key_is_no_key() -> None:
    assert "OpenAI" in _simulated(OPENAI_API_KEY=" ")


def test_simulated_vendors_are_reached_at_the_simulator_with_no_credentials_file() -> None:
    told = for_workers({}, SIMULATOR)
    assert told["OPENAI_BASE_URL"] == f"{SIMULATOR}/v1"
    assert told["DEEPSEEK_BASE_URL"] == f"{SIMULATOR}/deepseek"
    assert told["GOOGLE_GEMINI_BASE_URL"] == f"{SIMULATOR}/gemini"
    assert told["AWS_ENDPOINT_URL_BEDROCK_RUNTIME"] == f"{SIMULATOR}/bedrock"
    assert told["AWS_SHARED_CREDENTIALS_FILE"] == told["AWS_CONFIG_FILE"] == "/dev/null"


def test_keys_that_upstreams_name_reach_workers_alone_and_go_to_the_simulator(tmp_path: Path) -> None:
    overlay = tmp_path / "overlay.toml"
    overlay.write_text('[[upstream]]\nname = "eu"\nprovider = "openai"\nkey_variable = "OPENAI_EU_KEY"\n')
    environment = {"CATALOGUE": str(overlay), "OPENAI_EU_KEY": "eu", "OPENAI_OTHER_KEY": "other"}
    told = for_workers(environment, SIMULATOR)
    assert (told["OPENAI_EU_KEY"], told["OPENAI_BASE_URL"]) == ("eu", f"{SIMULATOR}/v1")
    assert "OPENAI_OTHER_KEY" not in told
    assert without_vendors(environment) == {"CATALOGUE": str(overlay)}


ROWS = """
[[model]]
name = "mine"
key_variable = "OPENAI_ACME_KEY"
base_url = "https://user:secret@acme.example/v1"
provider = "openai"
[[upstream]]
name = "main"
provider = "openai"
key_variable = "OPENAI_API_KEY"
[[upstream]]
name = "eu"
provider = "openai"
key_variable = "OPENAI_EU_KEY"
"""


@pytest.mark.parametrize(
    ("environment", "mine", "main", "eu"),
    [
        (
            {},
            "not called: OPENAI_ACME_KEY is not set",
            "simulated",
            "not called: OPENAI_EU_KEY is not set (any value will do for the simulator)",
        ),
        (
            {"OPENAI_EU_KEY": "x", "OPENAI_ACME_KEY_FILE": "/key"},
            "called at https://acme.example/v1 with OPENAI_ACME_KEY",
            "simulated",
            "simulated",
        ),
        (
            {"OPENAI_API_KEY": "x", "OPENAI_ACME_KEY": " "},
            "not called: OPENAI_ACME_KEY is not set",
            "real",
            "not called: OPENAI_EU_KEY is not set",
        ),
    ],
    ids=["nothing is set", "simulated", "real"],
)
def test_the_start_says_of_each_row_of_the_overlay_which_key_it_lacks(
    tmp_path: Path, environment: dict[str, str], mine: str, main: str, eu: str
) -> None:
    (tmp_path / "overlay.toml").write_text(ROWS)
    told = how_rows_are_called({"CATALOGUE": str(tmp_path / "overlay.toml")} | environment)
    assert told == [f"model mine: {mine}", f"upstream main: {main}", f"upstream eu: {eu}"]


def test_a_proxy_is_not_asked_for_the_simulator() -> None:
    assert for_workers({"NO_PROXY": "intern"}, SIMULATOR)["NO_PROXY"] == "intern,127.0.0.1"


def test_vendor_variables_are_kept_from_everyone_else() -> None:
    environment = {
        "OPENAI_API_KEY": "a",
        "DEEPSEEK_BASE_URL": "b",
        "AWS_PROFILE": "c",
        "GOOGLE_X": "d",
        "HOME": "/home",
    }
    assert without_vendors(environment) == {"HOME": "/home"}
