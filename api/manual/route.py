"""The entries of the URL map: a handler, and everything that a caller may send and receive."""

from __future__ import annotations

import inspect
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from aiohttp import web

from api.http_errors import expected
from shared.errors import (
    InvalidApiKey,
    InvalidRequest,
    PermissionDenied,
    RebootError,
    RequestTooLarge,
    Unavailable,
    UnsupportedMediaType,
)

Method = Literal["GET", "POST", "DELETE"]
Scope = Literal["inference", "read", "manage", "accounts", "keys", "routing", "audit"]
"""Scopes of API keys, then those that only operators' tokens have."""
Errors = tuple[type[RebootError], ...]
Content = Mapping[str, Any]
"""By media type: the msgspec type that is encoded, a tuple of alternatives, or a sentence."""
KEY: Errors = (InvalidApiKey, PermissionDenied, Unavailable)
"""Errors of routes that ask for a key: the key is refused, or the database cannot be asked."""
BODY: Errors = (InvalidRequest, RequestTooLarge, UnsupportedMediaType)
"""Errors of routes that read a body."""
SECURITY = (("/operator/", ("operator",)), ("/v1/", ("bearer", "x-api-key")), ("/", ("bearer",)))
"""Ways to send a key by the beginning of the path; the first that matches counts. API keys are taken in both headers
everywhere, and only clients of the foreign APIs need to know of the second.
"""
PARAMETER = re.compile(r"\{(\w+)\}")


@dataclass(frozen=True)
class Header:
    """A documented header of a request or an answer. `schema` is its JSON Schema."""

    name: str
    description: str
    schema: Mapping[str, Any] = field(default_factory=lambda: {"type": "string"})


@dataclass(frozen=True)
class Answer:
    """A successful answer. `example` is one, as JSON or as a struct."""

    content: Content
    headers: tuple[Header, ...] = ()
    example: Any = None


@dataclass(frozen=True)
class Body:
    """A request's body: the type that validates it, or a sentence if there is none. `example` is a valid one. A `tolerant`
    body may have unknown fields. If several structs are possible, an object without a type is read as `untagged`.
    """

    content: Content
    example: Any = None
    tolerant: bool = False
    untagged: type | None = None


@dataclass(frozen=True)
class Route:
    """One entry of the map. Its group is the handler's module, its description the handler's docstring, and its path
    decides the form of its errors and how a key is sent. `errors` lists errors other than those of keys, bodies and queries,
    which are added automatically.
    """

    method: Method
    path: str
    handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    summary: str
    answers: Mapping[int, Answer]
    scope: Scope | None = None
    body: Body | None = None
    query: type | None = None
    parameters: Mapping[str, str] = field(default_factory=dict)
    headers: tuple[Header, ...] = ()
    errors: Errors = ()
    slashes: bool = False
    """True if the last parameter may contain slashes."""

    @property
    def name(self) -> str:
        """A unique name made of method and path: `get_api_requests_id`."""
        return re.sub(r"\W+", "_", f"{self.method.lower()}{self.path}").rstrip("_")

    @property
    def security(self) -> tuple[str, ...]:
        """The ways in which a caller may send its key or token."""
        return next(ways for start, ways in SECURITY if self.path.startswith(start))

    @property
    def group(self) -> str:
        """The name of the resource."""
        return self.handler.__module__.rpartition(".")[2].replace("_", " ").capitalize()

    @property
    def description(self) -> str:
        """The handler's docstring."""
        return inspect.getdoc(self.handler) or ""

    @property
    def path_parameters(self) -> list[str]:
        """The names of the path's parameters, in order."""
        return PARAMETER.findall(self.path)

    def every_error(self) -> Errors:
        """All possible errors, each once."""
        asked = (InvalidRequest,) if self.query else ()
        return tuple(dict.fromkeys((*(KEY if self.scope else ()), *(BODY if self.body else ()), *asked, *self.errors)))


def json(kind: Any) -> Content:  # noqa: ANN401 - a type, or a generic one with its parameter
    """`application/json`, encoded from a msgspec type, or from one of a tuple of them."""
    return {"application/json": kind}


def register(app: web.Application, routes: tuple[Route, ...]) -> None:
    """Add every entry to aiohttp's router. Routes without a key answer HEAD as well."""
    for route in routes:
        path = route.path.removesuffix("}") + ":.+}" if route.slashes else route.path
        app.router.add_route(route.method, path, route.handler, expect_handler=expected)
        if route.method == "GET" and route.scope is None:
            app.router.add_route("HEAD", route.path, route.handler)
