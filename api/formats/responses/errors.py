"""Failures of responses, in the codes that clients of the Responses API know.

Codex (codex-rs `sse/responses.rs`, read 2026-11) gives up on `context_length_exceeded`, `insufficient_quota` and
`invalid_prompt`, waits as long as the text of `rate_limit_exceeded` says ("try again in 3s"), and retries after every other
code.
"""

from __future__ import annotations

import math
from typing import Literal

import msgspec

from shared.errors import (
    ContextLengthExceeded,
    ErrorBody,
    InsufficientCredit,
    Overloaded,
    ProviderBusy,
    ProviderRejected,
    RateLimited,
)

FailureCode = Literal[
    "server_error", "rate_limit_exceeded", "invalid_prompt", "context_length_exceeded", "insufficient_quota"
]
CODES: dict[str, FailureCode] = {
    ContextLengthExceeded.code: "context_length_exceeded",
    InsufficientCredit.code: "insufficient_quota",
    ProviderRejected.code: "invalid_prompt",
    RateLimited.code: "rate_limit_exceeded",
    ProviderBusy.code: "rate_limit_exceeded",
    Overloaded.code: "rate_limit_exceeded",
}
OUR_FAULT = 500


class ResponseFailure(msgspec.Struct, frozen=True):
    """The reason for which a response failed after it had begun."""

    code: FailureCode
    """The error's code, one of those that clients of the Responses API know."""
    message: str
    """A sentence for people that says what went wrong and what to do."""


def failure_of(error: ErrorBody) -> ResponseFailure:
    """The failure, in a code that clients know."""
    code = CODES.get(error.code, "server_error" if error.status >= OUR_FAULT else "invalid_prompt")
    message = error.message
    if code == "rate_limit_exceeded" and error.retry_after_s is not None:
        message += f" Please try again in {max(1, math.ceil(error.retry_after_s))}s."
    return ResponseFailure(code, message)
