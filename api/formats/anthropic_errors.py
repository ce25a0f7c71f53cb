"""Errors as Anthropic's API says them; its client asks for their HTTP status, their type and `details.error_code`."""

from __future__ import annotations

from typing import Any

import msgspec

from api.formats.retrying import retry_headers
from shared.errors import ErrorBody

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
error_headers = retry_headers


def error_json(error: ErrorBody, request_id: str) -> bytes:
    """`{"type": "error", "error": {"type", "message", "details"}, "request_id"}`."""
    return msgspec.json.encode(error_document(error, request_id))


def error_document(error: ErrorBody, request_id: str) -> dict[str, Any]:
    """`details` has our own code, as Anthropic's have theirs, and the amounts of `insufficient_credit`."""
    details = {"error_code": error.code} | (error.details or {})
    told = {"type": _type(error), "message": error.message, "details": details}
    return {"type": "error", "error": told, "request_id": request_id}


def _type(error: ErrorBody) -> str:
    if error.code in OVERLOADED:
        return "overloaded_error"
    return TYPES.get(error.status, "invalid_request_error" if error.status < SERVER_ERROR else "api_error")
