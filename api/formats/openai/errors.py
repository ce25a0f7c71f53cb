"""Errors as OpenAI's API says them: `{"error": {"message", "type", "param", "code"}}`."""

from __future__ import annotations

import msgspec

from api.formats.native.answers import json_bytes
from api.formats.retrying import retry_headers
from shared.errors import ErrorBody
from shared.money import UsdText

TYPES = {
    401: "authentication_error",
    402: "insufficient_quota",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
}
OUR_FAULT = 500

CODE_AT = ("error", "code")
"""Where an error says which one it is."""


class OpenAIError(msgspec.Struct, frozen=True, kw_only=True):
    """`code` is ours, `type` OpenAI's word for its kind; `param` names the field where one is known."""

    message: str
    type: str
    param: str | None
    code: str
    request_id: str
    needed_usd: UsdText | msgspec.UnsetType = msgspec.UNSET
    available_usd: UsdText | msgspec.UnsetType = msgspec.UNSET
    charged_usd: UsdText | msgspec.UnsetType = msgspec.UNSET


class OpenAIFailure(msgspec.Struct, frozen=True):
    """An error."""

    error: OpenAIError


ERROR = OpenAIFailure
error_headers = retry_headers


def error_json(error: ErrorBody, request_id: str) -> bytes:
    """`code` is ours."""
    details = error.details or {}
    content = OpenAIError(
        message=error.message,
        type=_type(error.status),
        param=details.get("param"),
        code=error.code,
        request_id=request_id,
        needed_usd=details.get("needed_usd", msgspec.UNSET),
        available_usd=details.get("available_usd", msgspec.UNSET),
        charged_usd=details.get("charged_usd", msgspec.UNSET),
    )
    return json_bytes(OpenAIFailure(content))


def _type(status: int) -> str:
    return TYPES.get(status, "server_error" if status >= OUR_FAULT else "invalid_request_error")
