"""Errors as Anthropic's API says them; its client asks for their HTTP status, their type and `details.error_code`."""

from __future__ import annotations

from typing import Literal

import msgspec

from api.formats.retrying import retry_headers
from shared.errors import ErrorBody
from shared.money import UsdText

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
"""By HTTP status (platform.claude.com/docs/en/api/errors, read 2026-11); there the other 4xx are `invalid_request_error`."""
OVERLOADED = {"overloaded", "provider_busy"}
SERVER_ERROR = 500
CODE_AT = ("error", "details", "error_code")
"""Where an error says which one it is."""
error_headers = retry_headers


class AnthropicDetails(msgspec.Struct, frozen=True, kw_only=True):
    """Our own code, as Anthropic's have theirs, and the amounts that belong to it."""

    error_code: str
    needed_usd: UsdText | msgspec.UnsetType = msgspec.UNSET
    available_usd: UsdText | msgspec.UnsetType = msgspec.UNSET
    charged_usd: UsdText | msgspec.UnsetType = msgspec.UNSET


class AnthropicError(msgspec.Struct, frozen=True, kw_only=True):
    """`type` is Anthropic's word for its kind, `message` says what to do."""

    type: str
    message: str
    details: AnthropicDetails


class AnthropicFailure(msgspec.Struct, frozen=True, kw_only=True):
    """An error."""

    type: Literal["error"] = "error"
    error: AnthropicError
    request_id: str


ERROR = AnthropicFailure


def error_json(error: ErrorBody, request_id: str) -> bytes:
    """As JSON."""
    return msgspec.json.encode(failure(error, request_id))


def failure(error: ErrorBody, request_id: str) -> AnthropicFailure:
    """In Anthropic's form."""
    known = {name: value for name, value in (error.details or {}).items() if name in AnthropicDetails.__struct_fields__}
    told = AnthropicError(
        type=_type(error), message=error.message, details=AnthropicDetails(error_code=error.code, **known)
    )
    return AnthropicFailure(error=told, request_id=request_id)


def _type(error: ErrorBody) -> str:
    if error.code in OVERLOADED:
        return "overloaded_error"
    return TYPES.get(error.status, "invalid_request_error" if error.status < SERVER_ERROR else "api_error")
