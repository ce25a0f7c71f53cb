"""Errors in the form of Anthropic's API. Its client reads the HTTP status, the type and `details.error_code`."""

from __future__ import annotations

from typing import Literal

import msgspec

from api.formats.native.answers import json_bytes
from api.formats.retrying import retry_headers
from shared.errors import ErrorBody, ProviderRejected
from shared.money import UsdText
from shared.overflow import ESTIMATE, Overflow

TYPES = {
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    409: "conflict_error",
    410: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
}
"""Anthropic's error types by HTTP status (platform.claude.com/docs/en/api/errors, read 2026-11); other 4xx are
`invalid_request_error`.
"""
OVERLOADED = {"overloaded", "provider_busy"}
OUR_FAULT = 500
CODE_AT = ("error", "details", "error_code")
"""The place of the code in the body."""


class AnthropicDetails(msgspec.Struct, frozen=True, kw_only=True):
    """Facts about the error that Anthropic's fields have no place for. This service adds them."""

    error_code: str
    """The error's code, one of those in `/docs/errors`; for `thread` it is Anthropic's `thread_unsupported_request`."""
    unsupported: list[str] | msgspec.UnsetType = msgspec.UNSET
    """The names of the fields that are not available; only with `thread_unsupported_request`."""
    needed_usd: UsdText | msgspec.UnsetType = msgspec.UNSET
    """The USD that must be available for the request; only with `insufficient_credit`."""
    available_usd: UsdText | msgspec.UnsetType = msgspec.UNSET
    """The USD that the account has available; only with `insufficient_credit`."""
    charged_usd: UsdText | msgspec.UnsetType = msgspec.UNSET
    """The USD charged for the failed request; left out if nothing was charged."""


class AnthropicError(msgspec.Struct, frozen=True, kw_only=True):
    """A description of the error, and of what to do about it."""

    type: str
    """Anthropic's word for the kind of error."""
    message: str
    """A sentence for people that says what went wrong and what to do."""
    details: AnthropicDetails
    """The error's code in this service, and amounts of money."""


class AnthropicFailure(msgspec.Struct, frozen=True, kw_only=True):
    """An error in Anthropic's form, as an answer and as the last event of a stream."""

    type: Literal["error"] = "error"
    error: AnthropicError
    """A description of the error, and of what to do about it."""
    request_id: str | None
    """The request's id, the same as in `x-request-id`; null in a batch's results if no request was made for the
    line.
    """


ERROR = AnthropicFailure
error_headers = retry_headers


def error_json(error: ErrorBody, request_id: str) -> bytes:
    """The body of an error: `{"type": "error", "error": {"type", "message", "details"}, "request_id"}`."""
    return json_bytes(failure(error, request_id))


def failure(error: ErrorBody, request_id: str | None) -> AnthropicFailure:
    """The body of an error as a struct, before it is encoded."""
    known = error.details or {}
    details = AnthropicDetails(
        error_code=error.code,
        unsupported=[known["unsupported"]] if "unsupported" in known else msgspec.UNSET,
        needed_usd=known.get("needed_usd", msgspec.UNSET),
        available_usd=known.get("available_usd", msgspec.UNSET),
        charged_usd=known.get("charged_usd", msgspec.UNSET),
    )
    told = AnthropicError(type=_type(error), message=_message(error), details=details)
    return AnthropicFailure(error=told, request_id=request_id)


def _message(error: ErrorBody) -> str:
    """The message. For a conversation that does not fit, it has Anthropic's words: by them, clients know that they must
    shorten the conversation (Claude Code 2.1, LiteLLM 1.110 and pi 0.74, read 2026-11).
    """
    overflow = Overflow.told_by(error)
    if overflow is None:
        return error.message
    if overflow.tokens_output:
        asked = f"{overflow.tokens - overflow.tokens_output} + {overflow.tokens_output}"
        return (
            f"input length and `max_tokens` exceed context limit: {asked} > {overflow.tokens_max}, "
            "decrease input length or `max_tokens` and try again"
        )
    note = f" ({overflow.tokens} is {ESTIMATE})" if overflow.estimated else ""
    asked = f"prompt is too long: {overflow.tokens} tokens > {overflow.tokens_max} maximum{note}"
    return f"{asked}. Shorten it, or take a model with a larger window."


def _type(error: ErrorBody) -> str:
    if error.code in OVERLOADED:
        return "overloaded_error"
    # the status is 502, but the request itself is at fault, and repeating it is useless
    if error.code == ProviderRejected.code:
        return "invalid_request_error"
    return TYPES.get(error.status, "api_error" if error.status >= OUR_FAULT else "invalid_request_error")
