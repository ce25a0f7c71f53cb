"""Converts the Gemini API's errors into this project's.

Google's error model: cloud.google.com/apis/design/errors; codes of this API: ai.google.dev/gemini-api/docs/troubleshooting
(read 2026-11).
"""

from __future__ import annotations

import re
from typing import Any

from google.genai.errors import APIError

from shared.errors import RebootError
from workers.providers.wire import vendor_errors

BAD_KEY = re.compile(r"api[ _]key", re.IGNORECASE)
"""Marks of a bad key, which is a 400 INVALID_ARGUMENT here: only its reason, or its text, distinguishes it from a bad
request.
"""
NO_CREDIT = re.compile(r"prepayment credits are depleted|exceeded its (?:monthly )?spending cap", re.IGNORECASE)
"""Marks of used-up credit, which has the status 429 RESOURCE_EXHAUSTED like a throttle. The usual "You exceeded your
current quota, please check your plan and billing details" means a throttle: it comes with limits per minute, too.
"""
STATUSES = {"CANCELLED": 504, "DEADLINE_EXCEEDED": 504, "UNAVAILABLE": 503, "RESOURCE_EXHAUSTED": 429}
SECONDS = re.compile(r"(\d+(?:\.\d+)?)s")


def from_api_error(error: APIError) -> RebootError:
    """The error of an error answer."""
    document = error.details if isinstance(error.details, dict) else {}
    inner = document.get("error", document)
    wait_s = vendor_errors.retry_after_s(getattr(error.response, "headers", None) or {})
    return from_error({"code": error.code} | (inner if isinstance(inner, dict) else {}), wait_s)


def from_error(error: dict[str, Any], wait_s: float | None = None) -> RebootError:
    """The error of an error object: `code` is an HTTP status, `status` the name of a gRPC code."""
    name, prose = str(error.get("status") or ""), str(error.get("message") or "")
    details = [detail for detail in error.get("details") or () if isinstance(detail, dict)]
    code = error.get("code")
    status = STATUSES.get(name) or (code if isinstance(code, int) else 500)
    if name == "FAILED_PRECONDITION" or (status == 400 and _is_about_the_key(prose, details)):  # noqa: PLR2004
        return vendor_errors.credentials()
    if status == 429 and NO_CREDIT.search(prose):  # noqa: PLR2004
        return vendor_errors.used_up()
    return vendor_errors.from_status(status, name, prose=prose, wait_s=_retry_delay_s(details) or wait_s)


def _is_about_the_key(prose: str, details: list[dict[str, Any]]) -> bool:
    return BAD_KEY.search(prose) is not None or any("API_KEY" in str(d.get("reason")) for d in details)


def _retry_delay_s(details: list[dict[str, Any]]) -> float | None:
    for detail in details:
        if found := SECONDS.fullmatch(str(detail.get("retryDelay"))):
            return min(float(found[1]), vendor_errors.RETRY_AFTER_MAX_S)
    return None
