"""What an entry of the URL map says: what is called, and everything that a caller may send and be answered."""

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
"""Of API keys, then those that tokens of operators have beside `read`."""
Errors = tuple[type[RebootError], ...]
Content = Mapping[str, Any]
"""By media type: the msgspec type that is encoded there, a tuple of those of which one is, or a sentence."""
KEY: Errors = (InvalidApiKey, PermissionDenied, Unavailable)
"""Of routes that ask for a key: it is refused, or the database cannot say."""
BODY: Errors = (InvalidRequest, RequestTooLarge, UnsupportedMediaType)
"""Of routes that read a body."""
PARAMETER = re.compile(r"\{(\w+)\}")


@dataclass(frozen=True)
class Header:
    """A header of note, in a request or in an answer. `schema` is its JSON Schema."""

    name: str
    description: str
    schema: Mapping[str, Any] = field(default_factory=lambda: {"type": "string"})


@dataclass(frozen=True)
class Answer:
    """An answer that is no error. `example` is one as it is sent, as JSON or a struct."""

    content: Content
    headers: tuple[Header, ...] = ()
    example: Any = None


@dataclass(frozen=True)
class Body:
    """What is sent: the type that validates it, or a sentence where no type does. `example` is one that works. What is
    `tolerant` may have fields that no type knows. Where one of several structs may stand, an object that does not say its
    type is `untagged`.
    """

    content: Content
    example: Any = None
    tolerant: bool = False
    untagged: type | None = None


@dataclass(frozen=True)
class Route:
    """One entry. Its group is the module of its handler, its description the handler's docstring, the form of its errors
    follows from its path; the errors of keys, bodies and queries come by themselves, `errors` are the others.
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
    security: tuple[str, ...] = ("bearer",)
    slashes: bool = False
    """Its last parameter may have slashes in it."""

    @property
    def name(self) -> str:
        """Unique, because method and path are: `get_api_requests_id`."""
        return re.sub(r"\W+", "_", f"{self.method.lower()}{self.path}").rstrip("_")

    @property
    def group(self) -> str:
        """The resource."""
        return self.handler.__module__.rpartition(".")[2].replace("_", " ").capitalize()

    @property
    def description(self) -> str:
        """The handler's promise."""
        return inspect.getdoc(self.handler) or ""

    @property
    def path_parameters(self) -> list[str]:
        """Their names, in order."""
        return PARAMETER.findall(self.path)

    def every_error(self) -> Errors:
        """All that may come, each once."""
        asked = (InvalidRequest,) if self.query else ()
        return tuple(dict.fromkeys((*(KEY if self.scope else ()), *(BODY if self.body else ()), *asked, *self.errors)))


def json(kind: Any) -> Content:  # noqa: ANN401 - a type, or a generic one with its parameter
    """`application/json`, encoded from a msgspec type, or from one of a tuple of them."""
    return {"application/json": kind}


def register(app: web.Application, routes: tuple[Route, ...]) -> None:
    """Every entry as a route of aiohttp. What needs no key answers HEAD too; a stream cannot: it would have a body."""
    for route in routes:
        path = route.path.removesuffix("}") + ":.+}" if route.slashes else route.path
        app.router.add_route(route.method, path, route.handler, expect_handler=expected)
        if route.method == "GET" and route.scope is None:
            app.router.add_route("HEAD", route.path, route.handler)
