"""The errors for vendors' failures, worded alike for all vendors.

A message never contains the vendor's text, which may quote a prompt or a key. It contains only identifiers
(`rate_limit_exceeded`, `ValidationException`) and counts of tokens. If a vendor states a fact only in prose, the text
is searched for that meaning and not kept.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from shared.errors import (
    ModelRetired,
    OperatorCredentials,
    ProviderBusy,
    ProviderError,
    ProviderRejected,
    ProviderTimeout,
    RebootError,
)
from workers.providers.wire.callers_faults import callers_fault, too_large
from workers.providers.wire.overflow import too_long

RETRY_AFTER_MAX_S = 3_600.0
IDENTIFIER = re.compile(r"[A-Za-z0-9_.\[\]-]{1,60}")
TOO_LONG = re.compile(
    # OpenAI, DeepSeek, Llama, Mistral | Claude | Claude, J2 | Titan, Command | Nova | Gemini
    r"maximum context length|context (window|limit|length)|(input|prompt) is too long|too many (input )?tokens"
    r"|input tokens exceed|number of input tokens exceeds|exceeds the maximum number of tokens"
    r"|messages\[\d+\]\.content[^']*': string too long",  # OpenAI's limit of 10,485,760 characters: more than any window
    re.IGNORECASE,
)
ABOVE_LIMIT = re.compile(r"request too large for\b.{0,200}\blimit", re.IGNORECASE | re.DOTALL)
"""Marks of a 429 that does not pass: the request alone has more tokens than the account may send in a minute (OpenAI)."""
OF_THE_MODEL = re.compile(
    # Bedrock | OpenAI | AWS's policies
    r"access to the model|does not have access to model"
    r"|not authorized to perform.{0,200}(foundation-model|inference-profile)",
    re.IGNORECASE | re.DOTALL,
)
OF_AN_ITEM = re.compile(r"\bitem with id\b|items are not persisted", re.IGNORECASE)
"""Marks of a 404 of OpenAI's Responses that concerns an item of the input, not the model."""
REDIRECTS = range(300, 400)
GONE = re.compile(
    # Bedrock | Bedrock | DeepSeek | any
    r"reached the end of its life|model identifier is invalid|model not exist"
    r"|\bmodel\b.{0,100}(does not exist|(has been|was|is) (deprecated|retired|discontinued|shut ?down)|no longer available)",
    re.IGNORECASE,
)


class Redirected(OperatorCredentials):
    """The vendor's address redirects to another one. Nobody follows with a prompt and a key: the operator must correct the
    address.
    """


class Throttled(ProviderBusy):
    """There were too many calls; the vendor itself works."""


class CreditUsedUp(OperatorCredentials):
    """The operator's money or quota at the vendor is used up."""


class NotHere(OperatorCredentials):
    """The operator's account may not call this model, or may not call it in this region. Another account or region may."""


class AboveAccountLimit(OperatorCredentials):
    """The request alone has more tokens than the operator's account may send in a minute, so that waiting does not help;
    another account may have a higher limit.
    """


class OutOfTime(ProviderTimeout):
    """The request's own time is over, which says nothing about the vendor."""


def from_status(  # noqa: C901, PLR0911, PLR0912 - a table: one meaning, one error
    status: int, *identifiers: object, prose: str = "", wait_s: float | None = None
) -> RebootError:
    """The error for an HTTP status, if the vendor's own codes say nothing more precise."""
    match status:
        case 400 | 413 | 422 if TOO_LONG.search(prose):
            return too_long(prose)
        case 400 | 422 if GONE.search(prose):
            return retired()
        case 404 if OF_AN_ITEM.search(prose):
            return callers_fault(prose) or rejected("HTTP 404", *identifiers)
        case 404 | 410:
            return retired()
        case 402:
            return used_up()
        case 403 if OF_THE_MODEL.search(prose):
            return not_here()
        case 401 | 403:
            return credentials()
        case 408 | 504:
            return timed_out()
        case 429 if ABOVE_LIMIT.search(prose):
            return above_limit()
        case 429:
            return throttled(wait_s)
        case 503 | 529:
            return busy(wait_s)
        case 413:
            return callers_fault(prose) or too_large()
        case 400 | 405 | 406 | 409 | 411 | 414 | 415 | 422 | 451:
            return callers_fault(prose) or rejected(f"HTTP {status}", *identifiers)
        case _ if status in REDIRECTS:
            return redirected()
        case _:
            return failed(f"HTTP {status}", *identifiers, wait_s=wait_s)


def retired() -> RebootError:
    """The vendor no longer has the model."""
    return ModelRetired("The vendor says that this model is gone: choose another, see GET /api/models.")


def credentials() -> RebootError:
    """The vendor refuses the operator's key, permission or account."""
    return OperatorCredentials("The vendor refused this service's own account: the operator has been told.")


def redirected() -> RebootError:
    """The operator's address of the vendor redirects."""
    return Redirected("The vendor's address leads to another one, which is not followed: the operator has been told.")


def used_up() -> RebootError:
    """The operator's money or quota at the vendor is used up."""
    return CreditUsedUp("This service's own account at the vendor is used up: the operator has been told.")


def not_here() -> RebootError:
    """The operator's account or region may not use the model."""
    return NotHere(
        "The vendor does not serve this model to this service's account or region: the operator has been told."
    )


def above_limit() -> RebootError:
    """The request is larger than the operator's account may send in a minute."""
    return AboveAccountLimit(
        "This request has more tokens than the vendor takes from this service's account in a minute: send less, lower"
        " max_tokens, or take another model. The operator has been told."
    )


def throttled(wait_s: float | None = None) -> RebootError:
    """The vendor throttles."""
    return Throttled("The vendor is too busy now: try again later.", retry_after_s=wait_s)


def busy(wait_s: float | None = None) -> RebootError:
    """The vendor is overloaded."""
    return ProviderBusy("The vendor is too busy now: try again later.", retry_after_s=wait_s)


def timed_out() -> RebootError:
    """The vendor took the request and did not answer."""
    return ProviderTimeout("The vendor did not answer in time: try again, or ask for a shorter answer.")


def unreachable() -> RebootError:
    """No connection was established."""
    return ProviderError("The vendor could not be reached in time.")


def disconnected() -> RebootError:
    """The connection failed during the call."""
    return ProviderError("The connection to the vendor failed or broke off.")


def broke_off() -> RebootError:
    """The answer ended without the API's terminal marker."""
    return ProviderError("The vendor's answer broke off before its end.")


def interrupted() -> RebootError:
    """The vendor says that it gave the answer up."""
    return ProviderError("The vendor interrupted its answer.")


def no_answer() -> RebootError:
    """The answer is not of the API's form."""
    return ProviderError("The vendor sent something that is not an answer.")


def failed(*identifiers: object, wait_s: float | None = None) -> RebootError:
    """The vendor failed."""
    return ProviderError(f"The vendor failed{_listed(identifiers)}.", retry_after_s=wait_s)


def rejected(*identifiers: object) -> RebootError:
    """The vendor refuses this request for an unknown reason; most likely this service asked wrongly."""
    return ProviderRejected(
        f"The vendor refused this request{_listed(identifiers)} and would refuse it again: change it, or take another model. "
        "The operator has been told."
    )


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """The wait that the vendor's headers ask for, in seconds."""
    for name, unit_s in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        try:
            wait_s = float(headers[name]) * unit_s
        except (KeyError, ValueError):
            continue
        if 0 <= wait_s <= RETRY_AFTER_MAX_S:
            return wait_s
    return None


def _listed(identifiers: tuple[object, ...]) -> str:
    words = [word for word in identifiers if isinstance(word, str) and _is_identifier(word)]
    return f" ({', '.join(words)})" if words else ""


def _is_identifier(word: str) -> bool:
    return word.startswith("HTTP ") or IDENTIFIER.fullmatch(word) is not None
