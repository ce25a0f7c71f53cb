"""Errors in Anthropic's words."""

from __future__ import annotations

import json

import pytest

from api.formats.anthropic import errors as anthropic_errors
from shared.errors import (
    Conflict,
    Gone,
    IdempotencyMismatch,
    InsufficientCredit,
    InvalidApiKey,
    InvalidRequest,
    MethodNotAllowed,
    ModelNotFound,
    ModelRetired,
    OperatorCredentials,
    Overloaded,
    PermissionDenied,
    ProviderBusy,
    ProviderError,
    ProviderNotConfigured,
    ProviderRejected,
    ProviderTimeout,
    RateLimited,
    RebootError,
    RequestTooLarge,
    Unavailable,
    UnsupportedMediaType,
    error_body,
)
from shared.overflow import Overflow


@pytest.mark.parametrize(
    ("error", "kind", "retry"),
    [
        (InvalidRequest, "invalid_request_error", False),
        (InvalidApiKey, "authentication_error", False),
        (InsufficientCredit, "billing_error", False),
        (PermissionDenied, "permission_error", False),
        (ModelNotFound, "not_found_error", False),
        (MethodNotAllowed, "invalid_request_error", False),
        (Conflict, "conflict_error", False),
        (ModelRetired, "not_found_error", False),
        (Gone, "not_found_error", False),
        (RequestTooLarge, "request_too_large", False),
        (UnsupportedMediaType, "invalid_request_error", False),
        (IdempotencyMismatch, "invalid_request_error", False),
        (RateLimited, "rate_limit_error", True),
        (RebootError, "api_error", False),
        (ProviderRejected, "invalid_request_error", False),
        (ProviderError, "api_error", True),
        (Unavailable, "api_error", True),
        (Overloaded, "overloaded_error", True),
        (ProviderBusy, "overloaded_error", True),
        (ProviderNotConfigured, "api_error", False),
        (ProviderTimeout, "timeout_error", False),
    ],
)
def test_every_error_has_anthropics_type(error: type[RebootError], kind: str, retry: bool) -> None:  # noqa: FBT001
    body = error("Do this.").body()
    assert json.loads(anthropic_errors.error_json(body, "req_1")) == {
        "type": "error",
        "error": {"type": kind, "message": "Do this.", "details": {"error_code": body.code}},
        "request_id": "req_1",
    }
    assert anthropic_errors.error_headers(body)["x-should-retry"] == str(retry).lower()


@pytest.mark.parametrize(
    ("overflow", "words"),
    [
        (Overflow(tokens=9_000, tokens_max=8_192), "prompt is too long: 9000 tokens > 8192 maximum. Shorten it"),
        (
            Overflow(tokens=9_000, tokens_max=8_192, estimated=True),
            "prompt is too long: 9000 tokens > 8192 maximum (9000 is an estimate",
        ),
        (
            Overflow(tokens=203_096, tokens_max=200_000, tokens_output=4_096),
            "input length and `max_tokens` exceed context limit: 199000 + 4096 > 200000, ",
        ),
    ],
)
def test_a_prompt_that_is_too_long_is_told_in_anthropics_words_also_from_the_books(
    overflow: Overflow, words: str
) -> None:
    told = overflow.error().body()
    for body in (told, error_body(told.code, told.message)):
        error = json.loads(anthropic_errors.error_json(body, "req_1"))["error"]
        assert error["message"].startswith(words)
        assert error["type"] == "invalid_request_error"


def test_what_is_missing_is_said_in_the_details() -> None:
    error = InsufficientCredit("Add credit.", needed_usd="2", available_usd="1").body()
    told = json.loads(anthropic_errors.error_json(error, "req_1"))["error"]["details"]
    assert told == {"error_code": "insufficient_credit", "needed_usd": "2", "available_usd": "1"}


@pytest.mark.parametrize(
    ("wait_s", "seconds", "milliseconds"), [(0.0, "1", "1"), (0.2, "1", "200"), (1.5, "2", "1500")]
)
def test_how_long_to_wait_is_said_twice(wait_s: float, seconds: str, milliseconds: str) -> None:
    headers = anthropic_errors.error_headers(RateLimited("Wait.", retry_after_s=wait_s).body())
    assert (headers["Retry-After"], headers["retry-after-ms"]) == (seconds, milliseconds)


def test_without_a_known_time_nothing_is_said_of_it() -> None:
    assert anthropic_errors.error_headers(OperatorCredentials("No.").body()).keys() == {"x-should-retry"}
