"""The headers of an error that tell clients whether and when to retry."""

from __future__ import annotations

import math

from shared.errors import ErrorBody, kind_of


def retry_headers(error: ErrorBody) -> dict[str, str]:
    """`x-should-retry`, which OpenAI's and Anthropic's clients obey (`_should_retry` in their `_base_client.py`, read
    2026-11), and the time to wait: `Retry-After` in whole seconds, and `retry-after-ms`, which they prefer.
    """
    headers = {"x-should-retry": "true" if worth_asking_again(error) else "false"}
    if error.retry_after_s is not None:
        headers["Retry-After"] = str(max(1, math.ceil(error.retry_after_s)))
        headers["retry-after-ms"] = str(max(1, math.ceil(error.retry_after_s * 1000)))
    return headers


def worth_asking_again(error: ErrorBody) -> bool:
    """True if the same request may succeed later at no cost. Whether to repeat a failed request that was charged is for
    people to decide.
    """
    return kind_of(error).retryable and not error.final and "charged_usd" not in (error.details or {})
