"""Errors in the form of OpenAI's API: `{"error": {"message", "type", "param", "code"}}`."""

from __future__ import annotations

from typing import Literal

import msgspec

from api.formats.native.answers import json_bytes
from api.formats.retrying import retry_headers
from shared.errors import ErrorBody, InsufficientCredit, ProviderRejected
from shared.money import UsdText

TYPES = {
    401: "authentication_error",
    402: "insufficient_quota",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
}
OUR_FAULT = 500
CALLERS_FAULT: Literal["invalid_request_error"] = "invalid_request_error"
"""The word by which LiteLLM, and so aider, recognises an error that is not worth a retry, wherever it is in the body
(`exception_mapping_utils.py` of 1.81 and 1.110, read 2026-11). Without it, LiteLLM retries after a 402 and a 502.
"""

CODE_AT = ("error", "code")
"""The place of the code in the body."""


class OpenAIError(msgspec.Struct, frozen=True, kw_only=True):
    """A description of the error, and of what to do about it."""

    message: str
    """A sentence for people that says what went wrong and what to do."""
    type: str
    """OpenAI's word for the kind of error."""
    param: str | None
    """The name of the field at fault; null if no field is."""
    code: str
    """The error's code in this service, one of the codes in `/docs/errors`."""
    request_id: str
    """The request's id, the same as in `x-request-id`."""
    kind: Literal["invalid_request_error"] | msgspec.UnsetType = msgspec.UNSET
    """A mark that tells clients not to try again; only with `insufficient_credit`."""
    needed_usd: UsdText | msgspec.UnsetType = msgspec.UNSET
    """The USD that must be available for the request; only with `insufficient_credit`."""
    available_usd: UsdText | msgspec.UnsetType = msgspec.UNSET
    """The USD that the account has available; only with `insufficient_credit`."""
    charged_usd: UsdText | msgspec.UnsetType = msgspec.UNSET
    """The USD charged for the failed request; left out if nothing was charged."""


class OpenAIFailure(msgspec.Struct, frozen=True):
    """An error in OpenAI's form."""

    error: OpenAIError
    """A description of the error, and of what to do about it."""


ERROR = OpenAIFailure
error_headers = retry_headers


def error_json(error: ErrorBody, request_id: str) -> bytes:
    """The body of an error. `code` is this service's own."""
    details = error.details or {}
    content = OpenAIError(
        message=error.message,
        type=_type(error),
        param=details.get("param"),
        code=error.code,
        request_id=request_id,
        kind=CALLERS_FAULT if error.code == InsufficientCredit.code else msgspec.UNSET,
        needed_usd=details.get("needed_usd", msgspec.UNSET),
        available_usd=details.get("available_usd", msgspec.UNSET),
        charged_usd=details.get("charged_usd", msgspec.UNSET),
    )
    return json_bytes(OpenAIFailure(content))


def _type(error: ErrorBody) -> str:
    # the status is 502, but the request itself is at fault, and repeating it is useless
    if error.code == ProviderRejected.code:
        return CALLERS_FAULT
    return TYPES.get(error.status, "server_error" if error.status >= OUR_FAULT else CALLERS_FAULT)
