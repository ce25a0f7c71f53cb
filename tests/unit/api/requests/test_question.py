"""Numbers that no machine word holds are refused; they used to be a 500."""

from __future__ import annotations

import json

import pytest

from api.formats.anthropic.chat import parse_count
from api.requests.question import packed
from shared.catalogue.models import load_catalogue
from shared.errors import InvalidRequest

MODEL = "anthropic-claude-haiku-4-5"


def body(budget_tokens: int) -> bytes:
    thinking = {"type": "enabled", "budget_tokens": budget_tokens}
    messages = [{"role": "user", "content": "Hello"}]
    return json.dumps({"model": MODEL, "max_tokens": 3_000, "messages": messages, "thinking": thinking}).encode()


def test_a_number_beyond_all_bounds_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="whole number"):
        packed(parse_count(body(10**30)), load_catalogue().find(MODEL), keep_messages=False)
