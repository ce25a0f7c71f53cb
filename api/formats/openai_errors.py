"""Errors as OpenAI's API says them: `{"error": {"message", "type", "param", "code"}}`."""

from __future__ import annotations

from api.formats.native_answers import json_bytes
from api.formats.retrying import retry_headers
from shared.errors import ErrorBody

TYPES = {
    401: "authentication_error",
    402: "insufficient_quota",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
}
OUR_FAULT = 500

error_headers = retry_headers


def error_json(error: ErrorBody, request_id: str) -> bytes:
    """`code` is ours; what else is known of the error comes after it."""
    details = error.details or {}
    content = {"message": error.message, "type": _type(error.status), "param": details.get("param"), "code": error.code}
    return json_bytes({"error": {**details, **content, "request_id": request_id}})


def _type(status: int) -> str:
    return TYPES.get(status, "server_error" if status >= OUR_FAULT else "invalid_request_error")
