"""The URL map of the operators' API, beside `routes.py`: `OPERATOR_API=0` leaves it out."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from api.endpoints import operator_accounts, operator_audit, operator_docs, operator_routing
from api.formats.native.answers import Success
from api.formats.native.keys import CreatedKey
from api.manual.route import Answer, Body, Errors, Header, Route, Scope, json
from api.operators import REPLAYED, RefBody
from shared import errors
from shared.ledger.accounts import Wallet
from shared.ledger.api_keys import KeyRow
from shared.ledger.check import Report
from shared.queue.routing import Paused, Queues, WorkerRow
from shared.queue.upstream_rows import UpstreamRow

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
GUESSED: Errors = (errors.RateLimited,)
FOUND: Errors = (*GUESSED, errors.NotFound)
CHANGES: Errors = (*GUESSED, errors.Overloaded, errors.Conflict)
"""Errors of routes that take a `ref`; their bodies need room, too."""
AGAIN = (Header(REPLAYED, "`true` if this is the answer of an earlier request with the same `ref`."),)
ACCOUNT = {"id": "An account's id, `acc_…`."}
UPSTREAM = {"name": "The name of an upstream, as in `GET /operator/upstreams`."}
PROVIDER = {"provider": "`openai`, `bedrock`, `deepseek` or `gemini`."}


def _get(path: str, handler: Handler, summary: str, kind: Any, scope: Scope, **more: Any) -> Route:  # noqa: ANN401
    answers = {200: Answer(json(Success[kind]))}
    return Route("GET", path, handler, summary, answers, scope=scope, **more)


def _post(
    path: str,
    handler: Handler,
    summary: str,
    kind: Any,  # noqa: ANN401 - a type
    scope: Scope,
    body: Body,
    status: int = 200,
    **more: Any,  # noqa: ANN401 - fields of `Route`
) -> Route:
    answers = {status: Answer(json(Success[kind]), AGAIN)}
    return Route("POST", path, handler, summary, answers, scope=scope, body=body, **more)


OPERATOR_ROUTES: tuple[Route, ...] = (
    _get(
        "/operator/accounts",
        operator_accounts.get_accounts,
        "Every account",
        operator_accounts.Accounts,
        "read",
        query=operator_accounts.AccountsQuery,
        errors=GUESSED,
    ),
    _post(
        "/operator/accounts",
        operator_accounts.post_account,
        "A new account",
        Wallet,
        "accounts",
        Body(json(operator_accounts.NewAccountBody), {"name": "Ada", "credit_usd": "25", "ref": "customer-17"}),
        201,
        errors=CHANGES,
    ),
    _get(
        "/operator/accounts/{id}",
        operator_accounts.get_account,
        "One account",
        Wallet,
        "read",
        parameters=ACCOUNT,
        errors=FOUND,
    ),
    _post(
        "/operator/accounts/{id}/credit",
        operator_accounts.post_credit,
        "Credit an account",
        Wallet,
        "accounts",
        Body(json(operator_accounts.CreditBody), {"usd": "25", "ref": "payment-4711", "note": "card"}),
        parameters=ACCOUNT,
        errors=(*CHANGES, errors.NotFound),
    ),
    _get(
        "/operator/accounts/{id}/keys",
        operator_accounts.get_keys,
        "An account's keys",
        list[KeyRow],
        "read",
        parameters=ACCOUNT,
        errors=FOUND,
    ),
    _post(
        "/operator/accounts/{id}/keys",
        operator_accounts.post_key,
        "Make a key for an account",
        CreatedKey,
        "keys",
        Body(json(operator_accounts.OperatorKeyBody), {"name": "first", "limit_usd": "25", "ref": "customer-17-key"}),
        201,
        parameters=ACCOUNT,
        errors=(*CHANGES, errors.NotFound),
    ),
    Route(
        "DELETE",
        "/operator/keys/{key_id}",
        operator_accounts.delete_key,
        "Revoke a key",
        {200: Answer(json(Success[KeyRow]))},
        scope="keys",
        parameters={"key_id": "Twelve characters: the middle part of a key."},
        errors=FOUND,
    ),
    _get(
        "/operator/queues",
        operator_routing.get_queues,
        "Queues and workers",
        Queues,
        "read",
        errors=GUESSED,
    ),
    _post(
        "/operator/queues/{provider}/pause",
        operator_routing.post_pause,
        "Pause a provider",
        Paused,
        "routing",
        Body(json(RefBody), {"ref": "incident-7"}),
        parameters=PROVIDER,
        errors=(*CHANGES, errors.NotFound),
    ),
    _post(
        "/operator/queues/{provider}/resume",
        operator_routing.post_resume,
        "Resume a provider",
        Paused,
        "routing",
        Body(json(RefBody), {"ref": "incident-7-over"}),
        parameters=PROVIDER,
        errors=(*CHANGES, errors.NotFound),
    ),
    _get(
        "/operator/workers",
        operator_routing.get_workers,
        "Every living worker",
        list[WorkerRow],
        "read",
        errors=GUESSED,
    ),
    _post(
        "/operator/workers/{id}/drain",
        operator_routing.post_drain,
        "Drain a worker",
        WorkerRow,
        "routing",
        Body(json(RefBody), {"ref": "upgrade-3"}),
        parameters={"id": "A worker's id, `wrk_…`."},
        errors=(*CHANGES, errors.NotFound),
    ),
    _get(
        "/operator/upstreams",
        operator_routing.get_upstreams,
        "Every upstream",
        list[UpstreamRow],
        "read",
        errors=GUESSED,
    ),
    _post(
        "/operator/upstreams/{name}/drain",
        operator_routing.post_drain_upstream,
        "Take an upstream out of service",
        list[UpstreamRow],
        "routing",
        Body(json(RefBody), {"ref": "rotation-3"}),
        parameters=UPSTREAM,
        errors=(*CHANGES, errors.NotFound),
    ),
    _post(
        "/operator/upstreams/{name}/enable",
        operator_routing.post_enable_upstream,
        "Take an upstream into service again",
        list[UpstreamRow],
        "routing",
        Body(json(RefBody), {"ref": "rotation-3-over"}),
        parameters=UPSTREAM,
        errors=(*CHANGES, errors.NotFound),
    ),
    _post(
        "/operator/ledger/check",
        operator_audit.post_check,
        "Check the books",
        Report,
        "read",
        Body(json(RefBody), {}),
        errors=CHANGES,
    ),
    _get(
        "/operator/audit",
        operator_audit.get_audit,
        "The audit log",
        operator_audit.AuditPage,
        "audit",
        query=operator_audit.AuditQuery,
        errors=GUESSED,
    ),
    Route(
        "GET",
        "/operator/openapi.json",
        operator_docs.get_openapi,
        "This document",
        {200: Answer({"application/json": "OpenAPI 3.1."})},
    ),
)
