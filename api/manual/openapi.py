"""`/openapi.json`: OpenAPI 3.1, made from the URL map and from the types that validate and encode."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from http import HTTPStatus
from importlib.metadata import version
from itertools import groupby
from typing import Any

import msgspec

from api.formats.surfaces import surface_of
from api.http.reading import EVENT_STREAM
from api.manual.error_catalogue import meaning
from api.manual.route import Answer, Content, Header, Route
from api.manual.schemas import Json, Schemas
from shared.errors import ErrorBody, InsufficientCredit, InvalidApiKey, RebootError

TITLE = "RebootML"
INTRODUCTION = (
    "One API key and one prepaid wallet for the models of many vendors. Every answer carries `x-request-id`; "
    "every error says what to do. [The errors](/docs/errors) · [clients and guides](/docs)"
)
SECURITY: dict[str, Json] = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "`Authorization: Bearer rml_…`"},
    "x-api-key": {
        "type": "apiKey",
        "in": "header",
        "name": "x-api-key",
        "description": "The same key in another header, which Anthropic's clients send.",
    },
    "operator": {"type": "http", "scheme": "bearer", "description": "`Authorization: Bearer rmo_…`"},
}
OPERATORS = (
    "The operators' API does over HTTP what the command `rebootml` does. Send `Authorization: Bearer rmo_…` with a token that"
    " `rebootml operator token` printed. An API key opens nothing here, and such a token opens nothing else. If it is unknown"
    " whether a change was made, send it again with the same `ref`: it is made once. [How to](/docs/guides/operators)"
)
REQUEST_ID = Header("x-request-id", "The id of this request, which the logs have, too.")
RETRY_AFTER = Header("Retry-After", "The seconds after which a repeat may succeed.", {"type": "integer", "minimum": 1})
WWW_AUTHENTICATE = Header("WWW-Authenticate", "Always `Bearer`: send a key in the header `Authorization`.")


def document(routes: tuple[Route, ...], address: str = "/", introduction: str = INTRODUCTION) -> bytes:
    """The document as JSON. `address` is the service's address; `/` stands for the address of the document."""
    schemas = Schemas(routes)
    paths: dict[str, Json] = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, schemas)
    return msgspec.json.encode(
        {
            "openapi": "3.1.0",
            "info": {"title": TITLE, "version": version("rebootml"), "description": introduction},
            "servers": [{"url": address}],
            "tags": [{"name": group} for group in dict.fromkeys(route.group for route in routes)],
            "paths": paths,
            "components": {"schemas": schemas.components, "securitySchemes": _security_of(routes)},
        }
    )


def _security_of(routes: tuple[Route, ...]) -> dict[str, Json]:
    named = {name for route in routes if route.scope for name in route.security}
    return {name: scheme for name, scheme in SECURITY.items() if name in named}


def _operation(route: Route, schemas: Schemas) -> Json:
    operation: Json = {
        "operationId": route.name,
        "tags": [route.group],
        "summary": route.summary,
        "description": route.description,
        "parameters": [*_path_parameters(route), *_query_parameters(route, schemas), *_header_parameters(route)],
        "responses": _responses(route, schemas),
        "security": [{name: [] if name == "x-api-key" else [route.scope]} for name in route.security]
        if route.scope
        else [],
    }
    if route.body:
        content = _content(route.body.content, schemas, route.body.example)
        operation["requestBody"] = {"required": True, "content": content}
    return operation


def _path_parameters(route: Route) -> list[Json]:
    return [
        {
            "name": name,
            "in": "path",
            "required": True,
            "description": route.parameters.get(name, ""),
            "schema": {"type": "string", "minLength": 1},
        }
        for name in route.path_parameters
    ]


def _query_parameters(route: Route, schemas: Schemas) -> list[Json]:
    if route.query is None:
        return []
    schema = schemas.of(route.query)
    return [
        {"name": name, "in": "query", "required": name in schema.get("required", ()), "schema": one}
        for name, one in schema["properties"].items()
    ]


def _header_parameters(route: Route) -> list[Json]:
    return [{"name": header.name, "in": "header", "required": False, **_header(header)} for header in route.headers]


def _header(header: Header) -> Json:
    return {"description": header.description, "schema": header.schema}


def _headers(*headers: Header) -> Json:
    return {header.name: _header(header) for header in headers}


def _responses(route: Route, schemas: Schemas) -> Json:
    answers = {status: _answer(status, answer, schemas) for status, answer in route.answers.items()}
    kinds = sorted(route.every_error(), key=lambda kind: kind.status)
    failures = {
        status: _failure(route, list(same), schemas) for status, same in groupby(kinds, lambda kind: kind.status)
    }
    return {str(status): response for status, response in sorted((answers | failures).items())}


def _answer(status: int, answer: Answer, schemas: Schemas) -> Json:
    return {
        "description": HTTPStatus(status).phrase,
        "headers": _headers(REQUEST_ID, *answer.headers),
        "content": _content(answer.content, schemas, answer.example),
    }


def _content(content: Content, schemas: Schemas, example: object = None) -> Json:
    """The media types of a body. `example` belongs to the first one."""
    media: dict[str, Json] = {}
    for kind, what in content.items():
        media[kind] = {"schema": _schema(kind, what, schemas)}
        if example is not None and len(media) == 1:
            media[kind]["example"] = example
    return media


def _schema(kind: str, what: Any, schemas: Schemas) -> Json:  # noqa: ANN401 - a type, several, or a sentence
    if isinstance(what, str):
        return _told(kind, what)
    return {"anyOf": [schemas.of(one) for one in what]} if isinstance(what, tuple) else schemas.of(what)


def _told(kind: str, sentence: str) -> Json:
    """A schema for content that no type describes: any JSON, or any text. Server-sent events get no type, because tools
    would take the schema for that of a single event.
    """
    known: dict[str, Json] = {"application/json": {}, EVENT_STREAM: {}}
    return {**known.get(kind, {"type": "string"}), "description": sentence}


def _failure(route: Route, kinds: list[type[RebootError]], schemas: Schemas) -> Json:
    """All errors with one status: the body of the surface, with the possible codes, and an example of each."""
    surface = surface_of(route.path)
    bodies = {kind.code: _example(kind) for kind in reversed(kinds)}
    texts = {code: surface.error_json(body, "req_…") for code, body in sorted(bodies.items())}
    codes = sorted({_at(msgspec.json.decode(text), surface.CODE_AT) for text in texts.values()})
    return {
        "description": " · ".join(dict.fromkeys(meaning(kind) for kind in kinds)),
        "headers": _headers(REQUEST_ID, *_error_headers(kinds)),
        "content": {
            "application/json": {
                "schema": {"allOf": [schemas.of(surface.ERROR), _with_code(surface.CODE_AT, codes)]},
                "examples": {code: {"value": msgspec.Raw(text)} for code, text in texts.items()},
            }
        },
    }


def _example(kind: type[RebootError]) -> ErrorBody:
    if kind is InsufficientCredit:
        return kind(meaning(kind), needed_usd="0.0123", available_usd="0.004").body()
    return kind(meaning(kind)).body()


def _error_headers(kinds: list[type[RebootError]]) -> list[Header]:
    waits = any(kind.default_retry_after_s is not None for kind in kinds)
    return [RETRY_AFTER] * waits + [WWW_AUTHENTICATE] * (InvalidApiKey in kinds)


def _at(value: Any, path: Iterable[str]) -> Any:  # noqa: ANN401 - any JSON
    for name in path:
        value = value[name]
    return value


def _with_code(path: tuple[str, ...], codes: list[str]) -> Mapping[str, Any]:
    schema: Json = {"enum": codes}
    for name in reversed(path):
        schema = {"type": "object", "properties": {name: schema}}
    return schema
