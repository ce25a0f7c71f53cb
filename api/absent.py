"""Error messages for paths and methods that do not exist: what was called, what exists, and which base
URL a client needs.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

SHOWN = re.compile(r"[A-Z]{1,20} [\w./{}:%+~-]{1,100}", re.ASCII)
BASES = "OpenAI's clients take a base URL that ends with /v1, Anthropic's the same without /v1."
OPERATORS = "/operator/"
CHATS = "chat requests go to POST /api/endpoint, or as those of OpenAI's and Anthropic's clients to /v1"


def nothing_here(method: str, path: str, routed: Iterable[str]) -> str:
    """The message for a `path` that is not in `routed`, the paths of the URL map."""
    called = _called(method, path)
    known = set(routed)
    if path == "/operator" or path.startswith(OPERATORS):
        return _no_route_of_operators(called, has_api=any(one.startswith(OPERATORS) for one in known))
    offered = sorted(one for one in known if one.startswith("/v1/") and "{" not in one)
    meant = _meant(path, offered)
    if meant:
        return f"There is no {called}: set the client's base URL so that it calls {meant}. {BASES}"
    if path == "/v1" or path.startswith("/v1/"):
        return (
            f"This service does not offer {called}. Of these APIs there are {', '.join(offered)}, "
            "and GET /openapi.json describes them."
        )
    return f"There is no {called}: {CHATS}."


def _no_route_of_operators(called: str, *, has_api: bool) -> str:
    if has_api:
        return (
            f"There is no {called}: GET /operator/openapi.json describes every route of the operators' API, "
            "/docs/guides/operators tells how it is used."
        )
    return f"There is no {called}: the operators' API is switched off here, with OPERATOR_API=0."


def wrong_method(method: str, path: str, allowed: str) -> str:
    """The message for a `path` that takes only the methods `allowed`, a comma list."""
    return f"This service does not offer {_called(method, path)}: use {allowed}."


def _called(method: str, path: str) -> str:
    called = f"{method} {path}"
    return called if SHOWN.fullmatch(called) else "what was called"


def _meant(path: str, offered: list[str]) -> str | None:
    """The path that a client with another base URL would have called: `/v1` is missing or doubled, or the base URL is a
    whole endpoint. None if no such path is offered.
    """
    tidy = re.sub(r"/{2,}", "/", path).rstrip("/")
    if tidy in offered:
        return tidy
    for one in offered:
        base = tidy.removesuffix(one.removeprefix("/v1"))
        if base != tidy and (not base.startswith("/v1/") or base.endswith("/v1") or base in offered):
            return one
    return None
