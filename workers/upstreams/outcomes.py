"""Says what the end of a call means for its upstream."""

from __future__ import annotations

from shared.errors import (
    AnswerTooLong,
    Cancelled,
    OperatorCredentials,
    ProviderBusy,
    ProviderError,
    ProviderTimeout,
    RebootError,
)
from shared.queue.upstreams import Outcome
from workers.providers.wire.vendor_errors import AboveAccountLimit, CreditUsedUp, NotHere, OutOfTime, Throttled


def outcome_of(error: RebootError) -> Outcome | None:
    """The outcome; None if the error says nothing about the upstream. An error that is not the vendor's failure counts
    as an answer; refusals and rate limits are such errors.
    """
    match error:
        case Cancelled() | OutOfTime():
            return None
        case CreditUsedUp():
            return Outcome.CREDIT_USED_UP
        case Throttled() | AnswerTooLong() | NotHere() | AboveAccountLimit():
            return Outcome.REFUSED
        case OperatorCredentials():
            return Outcome.CREDENTIALS_REFUSED
        case ProviderError() | ProviderTimeout() | ProviderBusy():
            return Outcome.FAILED
        case _:
            return Outcome.REFUSED
