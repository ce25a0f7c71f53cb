"""Errors in OpenAI's form, and what their headers tell clients that ask again by themselves."""

from __future__ import annotations

import json

import pytest

from api.formats.openai import errors as openai_errors
from api.formats.retrying import retry_headers
from api.formats.surfaces import surface_of
from shared import errors
from shared.errors import RebootError
from shared.job import Failed


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (errors.InvalidRequest, "invalid_request_error"),
        (errors.InvalidApiKey, "authentication_error"),
        (errors.PermissionDenied, "permission_error"),
        (errors.ModelNotFound, "not_found_error"),
        (errors.RequestTooLarge, "invalid_request_error"),
        (errors.IdempotencyMismatch, "invalid_request_error"),
        (errors.RateLimited, "rate_limit_error"),
        (errors.ProviderRejected, "invalid_request_error"),
        (errors.ProviderError, "server_error"),
        (errors.Overloaded, "server_error"),
        (RebootError, "server_error"),
    ],
)
def test_an_error_has_openais_type_and_our_code(error: type[RebootError], kind: str) -> None:
    content = json.loads(openai_errors.error_json(error("Do this.").body(), "req_1"))["error"]
    assert content == {"message": "Do this.", "type": kind, "param": None, "code": error.code, "request_id": "req_1"}


def test_details_stand_beside_the_four_fields() -> None:
    body = errors.InsufficientCredit("Add credit.", needed_usd="2", available_usd="1").body()
    content = json.loads(openai_errors.error_json(body, "req_1"))["error"]
    assert (content["type"], content["needed_usd"], content["available_usd"]) == ("insufficient_quota", "2", "1")


def test_missing_credit_has_the_word_by_which_litellm_knows_that_asking_again_is_no_use() -> None:
    """Its mapping looks for it anywhere in the body, and takes a 402 without it for a failure that passes."""
    assert b"invalid_request_error" in openai_errors.error_json(errors.InsufficientCredit("x").body(), "req_1")


def test_the_parameter_is_the_field() -> None:
    body = errors.InvalidRequest("`n` is 1.", param="n").body()
    assert json.loads(openai_errors.error_json(body, "req_1"))["error"]["param"] == "n"


@pytest.mark.parametrize(
    ("error", "again"),
    [
        (errors.InvalidRequest, "false"),
        (errors.InvalidApiKey, "false"),
        (errors.InsufficientCredit, "false"),
        (errors.Conflict, "false"),
        (errors.RateLimited, "true"),
        (errors.ProviderRejected, "false"),
        (errors.ProviderError, "true"),
        (errors.ProviderBusy, "true"),
        (errors.Unavailable, "true"),
        (errors.ProviderNotConfigured, "false"),
        (errors.ProviderTimeout, "false"),
        (RebootError, "false"),
    ],
)
def test_only_what_may_succeed_is_worth_asking_again(error: type[RebootError], again: str) -> None:
    assert retry_headers(error("x").body())["x-should-retry"] == again


def test_what_was_charged_is_not_asked_again_by_itself() -> None:
    failed = Failed(errors.ProviderError("x").body(), charged_nano=1)
    assert retry_headers(failed.as_error().body())["x-should-retry"] == "false"


@pytest.mark.parametrize(
    ("wait_s", "seconds", "milliseconds"), [(0.0001, "1", "1"), (0.25, "1", "250"), (1.2, "2", "1200")]
)
def test_how_long_to_wait_is_said_twice(wait_s: float, seconds: str, milliseconds: str) -> None:
    headers = retry_headers(errors.RateLimited("x", retry_after_s=wait_s).body())
    assert (headers["Retry-After"], headers["retry-after-ms"]) == (seconds, milliseconds)


def test_without_a_time_there_is_no_header_for_it() -> None:
    assert retry_headers(errors.ProviderError("x").body()) == {"x-should-retry": "true"}


def test_a_path_belongs_to_its_api() -> None:
    assert surface_of("/v1/chat/completions") is openai_errors
    assert surface_of("/v1/nothing") is openai_errors
    assert surface_of("/api/endpoint") is not openai_errors
    assert surface_of("/v1/v1/messages") is surface_of("/messages") is surface_of("/v1/messages/batches")
