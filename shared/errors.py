"""Every error a caller can be given: one tree, raised where the fact is known, rendered once per API surface.

    RebootError                    status  code                     retryable
    ├── InvalidRequest             400     invalid_request
    │   ├── ContextLengthExceeded  400     context_length_exceeded
    │   └── TooManyValues          400     invalid_request
    ├── InvalidApiKey              401     invalid_api_key
    ├── InsufficientCredit         402     insufficient_credit
    ├── PermissionDenied           403     permission_denied
    ├── NotFound                   404     not_found
    │   └── ModelNotFound          404     model_not_found
    ├── MethodNotAllowed           405     invalid_request
    ├── Conflict                   409     conflict
    ├── ModelRetired               410     model_retired
    ├── Gone                       410     gone
    ├── RequestTooLarge            413     request_too_large
    ├── UnsupportedMediaType       415     unsupported_media_type
    ├── IdempotencyMismatch        422     idempotency_mismatch
    ├── RateLimited                429     rate_limited             yes
    ├── Cancelled                  499     cancelled
    ├── ProviderRejected           502     provider_rejected        no: an operator alert
    ├── ProviderError              502     provider_error           yes, before the first byte
    │   ├── AnswerTooLong          502     provider_error           no: it would come again
    │   └── OperatorCredentials    502     provider_error           no: an operator alert
    ├── Unavailable                503     unavailable              yes
    │   ├── EndUnknown             503     unavailable              no: it may have been charged
    │   ├── Overloaded             503     overloaded               yes
    │   ├── ProviderBusy           503     provider_busy            yes
    │   └── ProviderNotConfigured  503     provider_not_configured
    ├── ProviderTimeout            504     provider_timeout
    └── Expired                    504     expired

`retryable` says whether the vendor may be called again for the same request (`workers/request/retry.py`).
"""

from __future__ import annotations

from typing import Any, ClassVar

import msgspec


class ErrorBody(msgspec.Struct, frozen=True, omit_defaults=True):
    """An error as it is sent or stored: in a journal, an HTTP body or a database row. `status` is the HTTP status."""

    code: str
    message: str
    status: int
    retry_after_s: float | None = None
    details: dict[str, str] | None = None
    final: bool = False
    """True if a repeat is useless although it may help for most errors of this code."""


class RebootError(Exception):
    """An error of this service; every other error derives from it. Callers read the message, which says what to do. It
    never contains a key, a prompt or an answer.
    """

    status: ClassVar[int] = 500
    code: ClassVar[str] = "internal_error"
    retryable: ClassVar[bool] = False
    default_retry_after_s: ClassVar[float | None] = None
    advice: ClassVar[str] = (
        "Look at `GET /api/requests/{id}`, then ask again; tell the operator its id if that goes on."
    )
    """The advice to callers in the manual; the message of one error is more precise."""

    def __init__(self, message: str, *, retry_after_s: float | None = None, **details: str) -> None:
        super().__init__(message)
        self.message = message
        self.asked_wait_s = retry_after_s
        """The seconds that the vendor asked for; `retry_after_s` may be a guess."""
        self.retry_after_s = retry_after_s if retry_after_s is not None else self.default_retry_after_s
        self.details = details

    def body(self) -> ErrorBody:
        """The same error as data."""
        known = ErrorBody(self.code, self.message, self.status, self.retry_after_s, self.details or None)
        return msgspec.structs.replace(known, final=kind_of(known).retryable and not self.retryable)


class InvalidRequest(RebootError):
    """The request is malformed; the message names the field."""

    status, code = 400, "invalid_request"
    advice = "Correct what the message names."


class ContextLengthExceeded(InvalidRequest):
    """Messages and output limit do not fit into the model's context window; `shared/overflow.py` says by how much."""

    code = "context_length_exceeded"
    advice = "Shorten the messages, lower `max_tokens`, or take a model with a larger window."


class TooManyValues(InvalidRequest):
    """A body has more fields and entries than are decoded, so nothing else is known of it."""

    advice = "Send less in one request: fewer tools, messages or parts of them."


class InvalidApiKey(RebootError):
    """No key, a mistyped one, or one that is unknown, revoked or expired."""

    status, code = 401, "invalid_api_key"
    advice = "Send `Authorization: Bearer rml_…` with a key that is valid now."


class InsufficientCredit(RebootError):
    """The account cannot hold the request's upper bound; details `needed_usd`, `available_usd`."""

    status, code = 402, "insufficient_credit"
    advice = "Add credit, or lower `max_tokens` so that less is held."


class PermissionDenied(RebootError):
    """The key lacks a scope or has used up its own limit."""

    status, code = 403, "permission_denied"
    advice = "Use a key that has the scope, or whose limit is not used up."


class NotFound(RebootError):
    """No such route or object, or an object of another account."""

    status, code = 404, "not_found"
    advice = "Check path and id; what is over is kept for a limited time."


class ModelNotFound(NotFound):
    """The catalogue has no model of this name."""

    code = "model_not_found"
    advice = "Take a name from `GET /api/models`."


class MethodNotAllowed(RebootError):
    """The route exists, the method does not."""

    status, code = 405, "invalid_request"
    advice = "Use a method that the header `Allow` names."


class Conflict(RebootError):
    """The object is in a state that does not allow this."""

    status, code = 409, "conflict"
    advice = "Look at the object's state, then decide again."


class ModelRetired(RebootError):
    """The vendor says that the model is gone."""

    status, code = 410, "model_retired"
    advice = "Take another model from `GET /api/models`."


class Gone(RebootError):
    """A file or a result is no longer kept, or the rest of an answer was lost; a lost answer may have been charged."""

    status, code = 410, "gone"
    advice = "It is not kept any more: `GET /api/requests/{id}` says what a request came to; a file can be sent again."


class RequestTooLarge(RebootError):
    """The body is over the limit, or the account's files leave no room for it."""

    status, code = 413, "request_too_large"
    advice = "Send a smaller body, or delete files where the message says so."


class UnsupportedMediaType(RebootError):
    """The body is not what the route takes."""

    status, code = 415, "unsupported_media_type"
    advice = "Send the type that the message names, uncompressed."


class IdempotencyMismatch(RebootError):
    """The same Idempotency-Key came with another body."""

    status, code = 422, "idempotency_mismatch"
    advice = "Use a new key for a new request."


class RateLimited(RebootError):
    """The key's or the account's own limit is reached for now."""

    status, code, retryable = 429, "rate_limited", True
    default_retry_after_s = 1.0
    advice = "Wait as long as `Retry-After` says, then ask again."


class Cancelled(RebootError):
    """The caller cancelled or went away."""

    status, code = 499, "cancelled"
    advice = "Ask again if the answer is still wanted."


class ProviderRejected(RebootError):
    """The vendor refused this request, and the reason is not known to be the caller's. It would refuse it again."""

    status, code = 502, "provider_rejected"
    advice = "Change the request, or take another model; the operator has been alerted."


class ProviderError(RebootError):
    """The vendor failed, or broke the answer off."""

    status, code, retryable = 502, "provider_error", True
    advice = "Ask again; nothing was charged unless output had come."


class OperatorCredentials(ProviderError):
    """The vendor refused the operator's credentials or account. It is never the caller's fault; an operator is alerted."""

    retryable = False
    advice = "Take another model; the operator has been alerted."


class AnswerTooLong(ProviderError):
    """The vendor's answer is longer than any that was asked for. Another call would bring the same."""

    retryable = False
    advice = "Take another model, or ask for a shorter answer as a stream."


class Unavailable(RebootError):
    """Postgres, Redis or the queue cannot take the request now; nothing was charged."""

    status, code, retryable = 503, "unavailable", True
    default_retry_after_s: ClassVar[float | None] = 2.0
    advice = "Wait as long as `Retry-After` says, then ask again."


UNKNOWN_END = "The queue has lost the request. How it ended, and whether it was charged, is in GET /api/requests/{id}."


class EndUnknown(Unavailable):
    """The request may run, or may have run, without this call, and may be charged. Clients must not repeat it by
    themselves.
    """

    retryable = False
    default_retry_after_s = None
    advice = "Look at `GET /api/requests/{id}` before you ask again: both may be charged."


class Overloaded(Unavailable):
    """The queue is full and the account has used its share of it, or no worker has served the queue for a while."""

    code = "overloaded"
    default_retry_after_s = 5.0
    advice = "Wait as long as `Retry-After` says, or take another model."


class ProviderBusy(Unavailable):
    """The vendor throttles and the retries are used up."""

    code = "provider_busy"
    default_retry_after_s = 5.0
    advice = "Wait as long as `Retry-After` says, or take another model."


class ProviderNotConfigured(Unavailable):
    """No worker has credentials for this vendor."""

    code, retryable = "provider_not_configured", False
    default_retry_after_s = 60.0
    advice = "Take a model that `GET /api/models` shows as available."


class ProviderTimeout(RebootError):
    """The vendor did not answer within the limit, or fell silent."""

    status, code = 504, "provider_timeout"
    advice = "Ask again, for less output or of another model."


class Expired(RebootError):
    """The request waited until its deadline: in the queue, or for the vendor's capacity at the tier flex."""

    status, code = 504, "expired"
    advice = "Ask again later, or of another model."


def _by_code(root: type[RebootError]) -> dict[str, type[RebootError]]:
    """By code, the class nearest to the root; of several the first."""
    found: dict[str, type[RebootError]] = {}
    for kind in root.__subclasses__():
        for code, error in {**_by_code(kind), kind.code: kind}.items():
            found.setdefault(code, error)
    return found


_KINDS = _by_code(RebootError)
_FINAL = {kind.code: kind for kind in (OperatorCredentials, EndUnknown)}
"""Classes for which a repeat is useless, although it may help for other classes with the same code."""


def kind_of(body: ErrorBody) -> type[RebootError]:
    """The class of the error that `body` came from, as far as its code tells."""
    return _KINDS.get(body.code, RebootError)


def error_body(code: str, message: str) -> ErrorBody:
    """An error of which only code and message were kept."""
    kind: Any = _KINDS.get(code, RebootError)
    return ErrorBody(code or kind.code, message, kind.status, kind.default_retry_after_s)


def from_body(body: ErrorBody) -> RebootError:
    """The error that `body` came from, of the class with the same code, to be raised again."""
    kind: Any = _FINAL.get(body.code, kind_of(body)) if body.final else kind_of(body)
    return kind(body.message, retry_after_s=body.retry_after_s, **(body.details or {}))  # type: ignore[no-any-return]
