"""Which error of this project each vendor's error is; the texts are the vendors' own."""

from __future__ import annotations

import json
from typing import Any

import pytest
from botocore.exceptions import ClientError
from google.genai.errors import APIError
from google.genai.errors import ClientError as GeminiError

from deploy.simulator.openai.rules import ABOVE_LIMIT
from shared.errors import (
    ContextLengthExceeded,
    InvalidRequest,
    ModelRetired,
    OperatorCredentials,
    ProviderBusy,
    ProviderError,
    ProviderRejected,
    ProviderTimeout,
    RebootError,
)
from workers.providers.bedrock.client import from_client_error, vendor_failures
from workers.providers.gemini import errors as gemini_errors
from workers.providers.openai import errors as openai_errors
from workers.providers.wire import vendor_errors
from workers.providers.wire.callers_faults import ThoughtsRefused
from workers.providers.wire.vendor_errors import AboveAccountLimit, CreditUsedUp, NotHere, Redirected, Throttled


def bedrock(code: str, message: str = "", status: int = 0, **headers: str) -> RebootError:
    metadata = {"HTTPStatusCode": status, "HTTPHeaders": headers} if status else {}
    answer: Any = {"Error": {"Code": code, "Message": message}, "ResponseMetadata": metadata}
    return from_client_error(ClientError(answer, "Converse"))


def gemini(status: int, name: str, message: str = "", *details: dict[str, str]) -> RebootError:
    error = {"code": status, "status": name, "message": message, "details": list(details)}
    return gemini_errors.from_api_error(GeminiError(status, {"error": error}))


@pytest.mark.parametrize(
    ("message", "kind"),
    [
        ("Input is too long for requested model.", ContextLengthExceeded),
        ("prompt is too long: 210000 tokens > 200000 maximum", ContextLengthExceeded),
        ("Too many input tokens. Max input tokens: 8192, request input token count: 9000", ContextLengthExceeded),
        ("too many tokens: total number of tokens in the prompt cannot exceed 4081", ContextLengthExceeded),
        ("This model's maximum context length is 8192 tokens. Please reduce the length", ContextLengthExceeded),
        ("Input Tokens Exceeded: Number of input tokens exceeds maximum length.", ContextLengthExceeded),
        ("input length and `max_tokens` exceed context limit: 199000 + 4096 > 200000", ContextLengthExceeded),
        ("The provided model identifier is invalid.", ModelRetired),
        ("This model version has reached the end of its life.", ModelRetired),
        ("The maximum tokens you requested exceeds the model limit of 4096.", ProviderRejected),
        ("This model doesn't support system messages.", ProviderRejected),
        (
            "Invocation of model ID meta.llama3-3-70b-instruct-v1:0 with on-demand throughput isn’t supported.",
            NotHere,
        ),
        (
            "Invocation of model ID meta.llama3-3-70b-instruct-v1:0 with on-demand throughput isn't supported.",
            NotHere,
        ),
    ],
)
def test_a_validation_exception_is_read_for_its_meaning(message: str, kind: type[RebootError]) -> None:
    error = bedrock("ValidationException", message, 400)
    assert type(error) is kind
    assert message not in error.message


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("ThrottlingException", Throttled),
        ("ModelNotReadyException", ProviderBusy),
        ("ServiceUnavailableException", ProviderBusy),
        ("InternalServerException", ProviderError),
        ("ModelErrorException", ProviderError),
        ("ModelStreamErrorException", ProviderError),
        ("ModelTimeoutException", ProviderTimeout),
        ("ServiceQuotaExceededException", CreditUsedUp),
        ("AccessDeniedException", OperatorCredentials),
        ("ExpiredTokenException", OperatorCredentials),
        ("ResourceNotFoundException", ModelRetired),
        ("SomethingNewException", ProviderError),
    ],
)
def test_an_exception_of_bedrock_means_the_same_inside_a_stream(code: str, kind: type[RebootError]) -> None:
    assert type(bedrock(code)) is kind
    assert type(bedrock(code[0].lower() + code[1:])) is kind


def test_an_unknown_exception_of_bedrock_goes_by_its_status() -> None:
    assert type(bedrock("503", status=503)) is ProviderBusy
    assert type(bedrock("SomethingNewException", status=400)) is ProviderRejected
    assert bedrock("ThrottlingException", "", 429, **{"retry-after": "3"}).retry_after_s == 3


def test_a_bad_key_of_gemini_is_the_operators_although_it_is_a_400() -> None:
    expired = {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID"}
    assert type(gemini(400, "INVALID_ARGUMENT", "Bad request.", expired)) is OperatorCredentials
    bad = gemini(400, "INVALID_ARGUMENT", "API key not valid. Please pass a valid API key.")
    assert type(bad) is OperatorCredentials
    assert type(gemini(400, "FAILED_PRECONDITION", "User location is not supported.")) is OperatorCredentials
    assert type(gemini(400, "INVALID_ARGUMENT", "Please use a valid role: user, model.")) is ProviderRejected


def test_gemini_says_how_long_to_wait() -> None:
    error = gemini(429, "RESOURCE_EXHAUSTED", "Quota.", {"@type": "…RetryInfo", "retryDelay": "27.5s"})
    assert type(error) is Throttled
    assert error.retry_after_s == 27.5


@pytest.mark.parametrize(
    ("prose", "expected"),
    [
        ("Your prepayment credits are depleted. Please go to AI Studio at https://ai.studio/projects.", CreditUsedUp),
        ("Your project has exceeded its monthly spending cap.", CreditUsedUp),
        ("Your project has exceeded its spending cap.", CreditUsedUp),
        ("You exceeded your current quota, please check your plan and billing details.", Throttled),
        ("Resource has been exhausted (e.g. check quota).", Throttled),
    ],
)
def test_gemini_without_credit_is_told_from_a_throttle_by_its_words(prose: str, expected: type[Exception]) -> None:
    assert type(gemini(429, "RESOURCE_EXHAUSTED", prose)) is expected


def test_a_page_instead_of_an_error_goes_by_its_status() -> None:
    assert (
        type(gemini_errors.from_api_error(APIError(502, {"message": "<html>", "status": "Bad Gateway"})))
        is ProviderError
    )
    assert type(gemini_errors.from_api_error(APIError(503, None))) is ProviderBusy


@pytest.mark.parametrize(
    ("status", "error", "kind"),
    [
        (400, {"message": "Model Not Exist", "code": "invalid_request_error"}, ModelRetired),
        (400, {"message": "This model's maximum context length is 131072 tokens."}, ContextLengthExceeded),
        *(
            (400, {"message": f"Invalid 'messages[1].{of}': string too long. Expected a string with maximum"}, kind)
            for of, kind in (
                ("content", ContextLengthExceeded),
                ("content[0].text", ContextLengthExceeded),
                ("tool_calls[0].id", ProviderRejected),
            )
        ),
        (400, {"message": "Content Exists Risk"}, InvalidRequest),
        (400, {"message": "No.", "code": "content_policy_violation"}, InvalidRequest),
        (400, {"message": "Unsupported parameter: 'stop' is not supported with this model."}, ProviderRejected),
        (404, {"code": "model_not_found"}, ModelRetired),
        (
            404,
            {"message": "Item with id 'rs_1' not found. Items are not persisted when `store` is set"},
            ThoughtsRefused,
        ),
        (404, {"message": "Item with id 'x' does something new."}, ProviderRejected),
        (402, {"message": "Insufficient Balance"}, CreditUsedUp),
        (429, {"code": "rate_limit_exceeded", "type": "requests"}, Throttled),
        (429, {"type": "insufficient_quota"}, CreditUsedUp),
        (429, {"message": ABOVE_LIMIT.message, "type": "tokens", "code": "rate_limit_exceeded"}, AboveAccountLimit),
        (
            429,
            {
                "message": "Rate limit reached for gpt-4 on tokens per min (TPM): Limit 10000, Used 8554, Requested 3082."
            },
            Throttled,
        ),
        (529, None, ProviderBusy),
        (302, None, Redirected),
        (413, "<html>", InvalidRequest),
        (414, "<html>", ProviderRejected),
    ],
)
def test_an_error_in_openais_protocol(status: int, error: object, kind: type[RebootError]) -> None:
    assert type(openai_errors.from_status(status, error, {})) is kind


def test_only_identifiers_are_passed_on() -> None:
    error = {"message": "You said: hush", "type": "invalid_request_error", "code": "a b", "param": "messages[0].role"}
    message = openai_errors.from_status(400, error, {}).message
    assert message.startswith(
        "The vendor refused this request (HTTP 400, invalid_request_error, messages[0].role) and "
    )


@pytest.mark.parametrize(
    ("headers", "wait_s"),
    [
        ({"retry-after": "3"}, 3.0),
        ({"retry-after-ms": "250", "retry-after": "3"}, 0.25),
        ({"retry-after": "Wed, 21 Oct 2026 07:28:00 GMT"}, None),
        ({"retry-after": "-1"}, None),
        ({"retry-after": "nan"}, None),
        ({}, None),
    ],
)
def test_patience_is_read_from_headers(headers: dict[str, str], wait_s: float | None) -> None:
    assert vendor_errors.retry_after_s(headers) == wait_s


async def test_an_answer_that_is_nested_beyond_what_the_sdk_reads_is_a_failure_of_the_vendor() -> None:
    with pytest.raises(ProviderError, match="not an answer"):
        async with vendor_failures():
            json.loads("[" * 100_000)
