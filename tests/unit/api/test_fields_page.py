"""The page on fields says what the code does."""

from __future__ import annotations

import json
import re

import pytest

from api.formats.openai.chat import parse_completion
from api.manual.fields import outcome, tables
from shared.catalogue.models import load_catalogue
from shared.settings import Settings

SETTINGS = Settings.load({"DATABASE_URL": "postgresql://db/x", "REDIS_URL": "redis://r"})
CATALOGUE = load_catalogue()


@pytest.mark.parametrize(
    ("model", "fields", "becomes"),
    [
        ("openai-gpt-4o", {"temperature": 0.5}, "done"),
        ("openai-o3-mini", {"reasoning_effort": "max"}, "nearest"),
        ("openai-gpt-4o", {"max_tokens": 16_385}, "nearest"),
        ("openai-gpt-4o", {"max_tokens": 16_384}, "done"),
        ("openai-gpt-4o", {"reasoning_effort": "low"}, "left out"),
        ("openai-o1", {"temperature": 0.5}, "refused"),
    ],
)
def test_an_outcome_is_that_of_the_request_itself(model: str, fields: dict[str, object], becomes: str) -> None:
    body = {"model": model, "messages": [{"role": "user", "content": "Hello"}], **fields}
    asked = parse_completion(json.dumps(body).encode())
    assert outcome(asked, CATALOGUE.find(model), CATALOGUE, SETTINGS) == becomes


def test_the_tables_of_each_api_have_every_model_once() -> None:
    for table in re.split(r"(?m)^## ", tables(CATALOGUE, SETTINGS))[1:]:
        listed = [line.partition(". ")[2].split(", ") for line in table.splitlines() if line[:1].isdigit()]
        assert sorted(name for names in listed for name in names) == sorted(model.name for model in CATALOGUE)
