"""Every row of the catalogue answers, as JSON and as a stream, with and without instructions."""

from __future__ import annotations

import pytest

from shared.chat import Message
from tests.conformance.cases import CATALOGUE, Case, Vendors, expected, promise

ROWS = [
    Case(model.name, model, stream)
    for model in CATALOGUE
    for stream in ((False, True) if model.streaming else (False,))
]


def test_the_catalogue_has_51_models() -> None:
    assert len(CATALOGUE) == 51


@promise("every row answers, with and without instructions")
@pytest.mark.parametrize("case", ROWS, ids=lambda case: f"{case.name}-{'stream' if case.stream else 'json'}")
async def test_row_answers(vendors: Vendors, case: Case) -> None:
    directive = "tokens=12 unicode=1"
    bare = await vendors.ask(case, directive)
    instructed = await vendors.ask(case, directive, messages=(Message("system", "Be brief."),))
    for got in (bare, instructed):
        assert got.error is None
        assert got.text == expected(case, directive, got.call.key)
        assert got.finished == ["stop"]
        assert got.call.model == case.model.upstream
        assert got.call.stream == case.streams
    assert instructed.call.prompt_tokens > bare.call.prompt_tokens
