"""Converts the errors of everything that speaks OpenAI's protocol, over HTTP or a socket, into this project's.

Codes: platform.openai.com/docs/guides/error-codes (read 2026-11); DeepSeek's: api-docs.deepseek.com (read 2026-11).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from shared.errors import RebootError
from workers.providers.wire import vendor_errors
from workers.providers.wire.callers_faults import forbidden, unusable_image
from workers.providers.wire.overflow import too_long

TOO_LONG_CODES = {"context_length_exceeded", "input_too_long"}
USED_UP_CODES = {"insufficient_quota", "credit_balance_exhausted", "billing_hard_limit_reached", "insufficient_balance"}
GONE_CODES = {"model_not_found", "model_deprecated"}
KEY_CODES = {
    "invalid_api_key",
    "authentication_error",
    "permission_error",
    "request_forbidden",
    "data_residency_mismatch",
}
THROTTLE_CODES = {"rate_limit_exceeded", "rate_limit_error"}
BUSY_CODES = {
    "slow_down",
    "server_is_overloaded",
    "service_unavailable_error",
    "resource_unavailable",
}
POLICY_CODES = {
    "content_policy_violation",
    "content_filter",
    "invalid_prompt",
    "image_content_policy_violation",
    "bio_policy",
    "misalignment_policy_violation",
}
IMAGE_CODES = {
    "invalid_image",
    "invalid_image_format",
    "invalid_base64_image",
    "image_too_large",
    "image_too_small",
    "image_parse_error",
    "image_file_too_large",
    "unsupported_image_media_type",
    "empty_image_file",
}
REFUSED_CODES = {"invalid_request_error"}
MEANINGS: tuple[tuple[set[str], Callable[[], RebootError]], ...] = (
    (GONE_CODES, vendor_errors.retired),
    (USED_UP_CODES, vendor_errors.used_up),
    (KEY_CODES, vendor_errors.credentials),
    (BUSY_CODES, vendor_errors.busy),
    (POLICY_CODES, forbidden),
    (IMAGE_CODES, unusable_image),
)


def from_status(status: int, body: object, headers: Mapping[str, str]) -> RebootError:
    """The error of an error answer; `body` is its error object, if it has one."""
    error = body if isinstance(body, dict) else {}
    words, prose = _codes(error), str(error.get("message") or "")
    if words & TOO_LONG_CODES and status in {400, 413, 422}:
        return too_long(prose)
    if words & USED_UP_CODES:
        return vendor_errors.used_up()
    if words & POLICY_CODES:
        return forbidden()
    identifiers = (error.get("type"), error.get("code"), error.get("param"))
    return vendor_errors.from_status(status, *identifiers, prose=prose, wait_s=vendor_errors.retry_after_s(headers))


def from_error(error: dict[str, Any]) -> RebootError:
    """The error of an error object without a status: inside a 200, a stream or a socket."""
    words, prose = _codes(error), str(error.get("message") or "")
    if words & TOO_LONG_CODES:
        return too_long(prose)
    if words & THROTTLE_CODES:
        return vendor_errors.from_status(429, prose=prose)
    for codes, meaning in MEANINGS:
        if words & codes:
            return meaning()
    if words & REFUSED_CODES:
        return vendor_errors.from_status(400, *sorted(words), prose=prose)
    return vendor_errors.failed(error.get("type"), error.get("code"))


def _codes(error: dict[str, Any]) -> set[str]:
    return {str(error[name]) for name in ("code", "type") if error.get(name)}
