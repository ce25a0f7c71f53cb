"""Turns a chat request's body into a `Wanted`: the body is read, parsed, fitted to its model, and packed. A `Wanted` becomes
a new request, or the earlier request that it repeats.

A decoded body is several times as large as its bytes, so nothing decoded outlives these steps.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import msgspec
from aiohttp import web

from api.formats.asked import Form
from api.formats.wishes import without_query
from api.http.reading import idempotency_key
from api.http.state import ASKED_BY, REQUEST_ID
from api.requests.fallbacks import Chain, chain_of, served_now
from api.requests.log import find_repeated
from api.requests.model_check import at_tier, fit_to_model, with_nearest
from api.requests.model_names import asked_in, listed_at
from api.requests.new_request import UNLIMITED, Admitted, NewRequest, job_again
from api.requests.question import Question, packed
from api.services import SERVICES, Services
from shared.batches.files import require_credit
from shared.catalogue.models import Model
from shared.errors import ModelNotFound, RebootError
from shared.job import Failed
from shared.ledger.rows import StoredInput

if TYPE_CHECKING:
    from api.formats.asked import Asked
    from api.http.bodies import Body
    from api.requests.log import LoggedRequest
    from shared.ledger.api_keys import ApiKey


class Wanted(msgspec.Struct, kw_only=True):
    """The request in a body. `served_by` and `question` are None if its model has left the catalogue, or if an earlier
    response that it continues is gone. `question` and `stored_input` are also None once they were sent.
    """

    form: Form
    model: str
    served_by: Model | None
    question: Question | None
    stream: bool
    max_tokens: int | None
    metadata: dict[str, str] | None
    ignored: tuple[str, ...]
    fingerprint: bytes | None
    stored_input: StoredInput | None = None
    background: bool = False
    at_once: Callable[[str, str], bytes] | None = None
    failed: Callable[[Failed, str, str], bytes] | None = None
    """`at_once` and `failed` have the same meaning as in `Asked`."""
    chain: Chain | None = None
    """The chain, if it names fallback models."""
    repeats: str | None = None
    """The id of the first request with the same Idempotency-Key."""


async def read_body(request: web.Request, key: ApiKey, copies: int = 1) -> Body:
    """Read the body; a large one is not even read if the account has no credit. Raises `RebootError`s."""
    services = request.app[SERVICES]
    request[ASKED_BY] = key.account_id
    if services.bodies.is_large(request.content_length or 0):
        await require_credit(services.pool, key.account_id)
    body = await services.bodies.read_json(request, key.account_id, copies=copies)
    try:
        await services.authenticator.require_still(key)
    except BaseException:
        body.release()
        raise
    return body


async def understand(request: web.Request, key: ApiKey, body: Body, parse: Callable[[bytes], Asked]) -> Wanted:
    """The request in `body`. Raises `RebootError`s. Checks that refuse new requests do not apply to a repeat, which was
    admitted before. Between the steps of a large body other requests get their turn.
    """
    services = request.app[SERVICES]
    async with services.bodies.turn(body.size) as pauses:
        asked = asked_in(body.take(), parse, services.catalogue, listed_at(request.path))
        asked = without_query(asked, request.query)
        await pauses.pause()
        repeatable_by = idempotency_key(request)
        fingerprint = asked.fingerprint() if repeatable_by else None
        await pauses.pause()
        fitted = await _fit_whole(request, asked, key, body, is_repeatable=repeatable_by is not None)
        await pauses.pause()
        wanted = _wanted(fitted, fingerprint, services)
    if repeatable_by and fingerprint:
        wanted.repeats = await find_repeated(services.pool, key.account_id, repeatable_by, fingerprint)
    if fitted.refusal and not wanted.repeats:
        raise fitted.refusal
    return wanted


class _Fitted(NamedTuple):
    """A request fitted to its model. `refusal` is raised unless the request turns out to be a repeat."""

    asked: Asked
    model: Model | None
    chain: Chain | None
    refusal: RebootError | None = None


async def _fit_whole(request: web.Request, asked: Asked, key: ApiKey, body: Body, *, is_repeatable: bool) -> _Fitted:
    """Complete the request by what it continues, and fit it to its model. The refusal of one that may be a repeat is
    returned.
    """
    services = request.app[SERVICES]
    try:
        asked = await services.conversations.whole(asked, key.account_id, body)
        return _Fitted(*_fit(request, asked, key, services))
    except RebootError as refusal:
        if not is_repeatable:
            raise
        return _Fitted(*_fit_again(asked, services), None, refusal)


def _wanted(fitted: _Fitted, fingerprint: bytes | None, services: Services) -> Wanted:
    asked, model = fitted.asked, fitted.model
    return Wanted(
        form=asked.form,
        model=asked.model,
        served_by=model,
        question=packed(asked, model, keep_messages=services.settings.keep_messages) if model else None,
        chain=fitted.chain,
        stream=asked.stream,
        max_tokens=asked.max_tokens,
        metadata=asked.metadata,
        ignored=asked.ignored,
        fingerprint=fingerprint,
        stored_input=asked.stored_input,
        background=asked.background,
        at_once=asked.at_once,
        failed=asked.failed,
    )


def _fit(
    request: web.Request, asked: Asked, key: ApiKey, services: Services
) -> tuple[Asked, Model | None, Chain | None]:
    """The request without what cannot be done, and the model that a worker can call for it. With a chain, all cache
    marks are kept.
    """
    if asked.models:
        chain = chain_of(asked, services.catalogue, services.settings, listed_at(request.path), strict=key.strict)
        chain = served_now(chain, services.directory, lambda model: model.lane)
        first = chain.next
        return msgspec.structs.replace(asked, sampling=first.sampling, ignored=first.ignored), first.model, chain
    model = services.catalogue.serving(asked.model, listed_at(request.path))
    asked, model = fit_to_model(asked, model, services.settings, strict=key.strict)
    model = at_tier(asked, model, services.catalogue)
    services.directory.require(model, model.lane)
    return asked, model, None


def _fit_again(asked: Asked, services: Services) -> tuple[Asked, Model | None]:
    """Like `_fit`, for a request that was admitted before. It is left unchanged if its model has left the catalogue or the
    tier is gone, or if an earlier response that it continues cannot be read.
    """
    if asked.continues:
        return asked, None
    try:
        model = services.catalogue.serving(asked.model)
    except ModelNotFound:
        return asked, None
    asked, model = with_nearest(asked, model)
    return asked, services.catalogue.at_tier(model, asked.service_tier or "default")


def new_request(request: web.Request, key: ApiKey, wanted: Wanted, *, outlives_reader: bool) -> NewRequest:
    """The request to be submitted; `wanted` must not be a repeat."""
    if wanted.served_by is None or wanted.question is None:
        raise AssertionError("only a repeat may be of a model that has left")
    outlives_reader = outlives_reader or wanted.background or wanted.fingerprint is not None
    stored = wanted.stored_input
    return NewRequest(
        id=request[REQUEST_ID],
        key=key,
        model=wanted.served_by,
        lane=wanted.served_by.lane,
        question=wanted.question,
        chain=wanted.chain,
        metadata=wanted.metadata,
        stream=wanted.stream,
        max_tokens=wanted.max_tokens,
        outlives_reader=outlives_reader,
        stored_input=stored and msgspec.structs.replace(stored, outlives_reader=outlives_reader),
        idempotency_key=idempotency_key(request),
        fingerprint=wanted.fingerprint,
    )


def admitted_before(logged: LoggedRequest, wanted: Wanted, services: Services) -> Admitted | None:
    """The earlier request as it was admitted, made from its row and from the equal body that was sent again. None if its
    model has left the catalogue: then it cannot be enqueued again.
    """
    if wanted.served_by is None or wanted.question is None:
        return None
    job = job_again(
        logged,
        wanted.question,
        wanted.served_by,
        wanted.chain,
        keeps_asked=wanted.stored_input is None,
        kept_s=services.settings.answers_kept_s,
    )
    return services.submitter.admitted(job, logged.lane, logged.key_id, UNLIMITED, outlives_reader=True)
