"""The manual's pages, and the error catalogue in it."""

from __future__ import annotations

import pytest

from api.manual import error_catalogue
from api.manual import pages as manual
from shared.catalogue.models import load_catalogue
from shared.errors import NotFound, RebootError
from shared.input_tokens import TOKENS_PER_MESSAGE_BOUND, TOKENS_PER_RESULT_BOUND, TOKENS_PER_TOOL_BOUND
from workers.request.incoming import BYTES_PER_TOKEN_MAX, SLACK_BYTES

CONTRACT = {
    (400, "invalid_request"),
    (400, "context_length_exceeded"),
    (401, "invalid_api_key"),
    (402, "insufficient_credit"),
    (403, "permission_denied"),
    (404, "model_not_found"),
    (404, "not_found"),
    (409, "conflict"),
    (422, "idempotency_mismatch"),
    (410, "model_retired"),
    (410, "gone"),
    (413, "request_too_large"),
    (415, "unsupported_media_type"),
    (429, "rate_limited"),
    (502, "provider_rejected"),
    (502, "provider_error"),
    (503, "provider_busy"),
    (503, "provider_not_configured"),
    (503, "overloaded"),
    (503, "unavailable"),
    (504, "provider_timeout"),
    (504, "expired"),
}
ERRORS = list(error_catalogue.every_error())


def test_the_catalogue_has_every_error_that_was_promised() -> None:
    beyond = {(500, "internal_error"), (405, "invalid_request"), (499, "cancelled")}
    assert {(kind.status, kind.code) for kind in ERRORS} == CONTRACT | beyond


@pytest.mark.parametrize("kind", ERRORS, ids=lambda kind: kind.__name__)
def test_every_error_is_on_the_page_with_its_meaning_and_what_to_do(kind: type[RebootError]) -> None:
    (row,) = [row for row in error_catalogue.table().splitlines() if error_catalogue.meaning(kind) in row]
    assert row.startswith(f"| {kind.status} | `{kind.code}` |")
    assert kind.advice in row
    assert f"<td>{kind.status}</td>\n<td><code>{kind.code}</code></td>" in manual.errors()


@pytest.mark.parametrize("kind", ERRORS[1:], ids=lambda kind: kind.__name__)
def test_every_error_has_a_meaning_and_an_advice_of_its_own(kind: type[RebootError]) -> None:
    assert "advice" in vars(kind)
    assert kind.__doc__


def test_the_landing_page_leads_to_every_page() -> None:
    landing = manual.landing()
    for folder in manual.FOLDERS:
        for name in manual.names(folder):
            assert f'<a href="/docs/{folder}/{name}">' in landing
            assert "<h1>" in manual.page(folder, name)


def test_pages_say_where_the_service_is_when_it_is_known() -> None:
    at = "https://llm.example.com/gateway"
    assert f"base_url = &quot;{at}/v1&quot;" in manual.page("clients", "codex", at)
    for shown in (manual.landing(at), manual.index("clients", at)):
        assert f"<code>{at}</code>" in shown
    assert manual.EXAMPLE_URL in manual.page("clients", "codex")
    assert "address is" not in manual.landing()


@pytest.mark.parametrize("folder", list(manual.FOLDERS))
def test_the_page_of_a_folder_lists_its_pages_and_the_landing_page_leads_to_it(folder: str) -> None:
    index = manual.index(folder)
    assert manual.names(folder)
    for name in manual.names(folder):
        assert f'<a href="/docs/{folder}/{name}">' in index
    assert f'<a href="/docs/{folder}">' in manual.landing()


@pytest.mark.parametrize("name", ["nothing", "../index", "../../errors", "requests.md", "", "/etc/passwd"])
def test_only_pages_that_are_there_are_read(name: str) -> None:
    with pytest.raises(NotFound):
        manual.page("guides", name)


def test_the_billing_page_says_the_bounds_that_hold() -> None:
    text = " ".join((manual.PAGES / "billing.md").read_text(encoding="utf-8").split())
    images = [model.image_tokens for model in load_catalogue() if model.image_tokens]
    assert f"more than {SLACK_BYTES:,} bytes and {BYTES_PER_TOKEN_MAX} for each token of the limit" in text
    assert f"{TOKENS_PER_MESSAGE_BOUND} for each message, {TOKENS_PER_TOOL_BOUND} for each tool call" in text
    assert f"{TOKENS_PER_RESULT_BOUND} for its result" in text
    assert f"{min(images):,} to {max(images):,}, depending on the model" in text


def test_no_page_loads_anything_from_elsewhere() -> None:
    for path in [*manual.PAGES.rglob("*.html"), *manual.PAGES.rglob("*.js"), *manual.PAGES.rglob("*.css")]:
        text = path.read_text(encoding="utf-8")
        assert "//" not in text.replace("\n// ", "").removeprefix("// "), path
        assert "<script>" not in text, path
