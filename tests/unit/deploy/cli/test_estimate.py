from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec

from deploy.cli.estimate import Estimate, estimate
from shared.catalogue.listing import facts_of
from shared.catalogue.models import load_catalogue
from shared.chat import Chat, Message
from shared.input_tokens import estimated_input

CATALOGUE = load_catalogue()
FLEX, OTHER = "openai-gpt-5.4-mini", "openai-gpt-4o"


def _listed() -> list[dict[str, Any]]:
    """As the service lists them."""
    return [msgspec.json.decode(msgspec.json.encode(facts_of(CATALOGUE, model))) for model in CATALOGUE]


def _line(model: str, text: str, **options: object) -> str:
    return json.dumps({"model": model, "messages": [{"role": "user", "content": text}], "options": options}) + "\n"


def test_a_file_is_estimated_at_both_tiers_by_listed_prices(tmp_path: Path) -> None:
    path = tmp_path / "lines"
    text = "Why is the sky blue? " * 40
    path.write_text(_line(FLEX, text, max_tokens=100) + "\n" + _line("gpt-5.4-mini", text, max_tokens=10**9))
    tokens = estimated_input(Chat([Message("user", text)]), None)
    output = 100 + 128_000
    # 0.375 and 2.25 USD per million tokens, and twice that
    flex = 2 * tokens * 0.375e-6 + output * 2.25e-6
    found = estimate(path, _listed())
    assert (found.counted, found.left_out) == (2, 0)
    assert abs(float(found.flex_usd) - flex) < 1e-8
    assert abs(float(found.default_usd) - 2 * flex) < 2e-8


def test_what_cannot_be_counted_is_told(tmp_path: Path) -> None:
    path = tmp_path / "lines"
    path.write_text(_line(OTHER, "hi") + "no JSON\n" + _line("acme", "hi"))
    assert estimate(path, _listed()) == Estimate(0, 3, "0", "0")


def test_a_line_that_asks_for_the_default_tier_costs_that(tmp_path: Path) -> None:
    path = tmp_path / "lines"
    path.write_text(_line(FLEX, "hi", max_tokens=1_000, service_tier="default"))
    found = estimate(path, _listed())
    assert found.counted == 1
    assert found.flex_usd == found.default_usd
