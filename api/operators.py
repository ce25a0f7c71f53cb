"""Parts that the routes of the operators' API share: authentication, and making each change once per `ref`."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable
from typing import Annotated, Any, NamedTuple, TypeVar

import msgspec
from aiohttp import web

from api.formats.native.answers import result_json
from api.formats.parsing import parse_once
from api.http.caller import address_of
from api.http.state import REQUEST_ID
from api.services import SERVICES, Services
from shared.operators.audit import Author
from shared.operators.operators import Scope
from shared.operators.refs import Kept, Once, once
from shared.patterns import told_as
from shared.stores.postgres import Connection, reached

REF_LENGTH_MAX = 255
REPLAYED = "Idempotent-Replayed"
Ref = Annotated[
    str,
    msgspec.Meta(
        min_length=1,
        max_length=REF_LENGTH_MAX,
        pattern=told_as("text that is not blank and has no NUL", r"^[^\x00]*[^\x00\s][^\x00]*$"),
        description="Your own name of this change; the same `ref` and body again return the first answer.",
    ),
]
T = TypeVar("T")


class Asker(NamedTuple):
    """The operator who calls, with a token that has the scope. `secret` is the token's secret."""

    services: Services
    operator: str
    secret: str
    author: Author


class RefBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The body of a change that may be repeated unchanged."""

    ref: Ref | None = None
    """Your own name of this change; sending the same `ref` again returns the first answer and changes nothing. It may
    be left out.
    """


ref_decoder = msgspec.json.Decoder(RefBody)
REF_HINT = "It takes ref, or may be left out"


async def asker(request: web.Request, scope: Scope) -> Asker:
    """Authenticate the operator. Raises as `OperatorAuth.authenticate` does."""
    services = request.app[SERVICES]
    token, secret = await services.operator_auth.authenticate(request, address_of(request), scope)
    return Asker(services, token.operator, secret, Author(f"operator:{token.operator}", request[REQUEST_ID]))


async def body_of(request: web.Request, who: Asker, decoder: msgspec.json.Decoder[T], hint: str) -> T:
    """The typed body; an empty one counts as `{}`. Raises as `Bodies.read_small_json` and `parse_once` do."""
    body = await who.services.bodies.read_small_json(request, f"operator:{who.operator}")
    return parse_once(body or b"{}", decoder, hint)


async def changed_once(
    request: web.Request,
    who: Asker,
    body: Any,  # noqa: ANN401 - a struct with a `ref`
    change: Callable[[Connection], Awaitable[Kept]],
    what: str,
) -> Once:
    """Make the change and store its `ref` in one transaction. Raises what `change` raises, `Conflict`, or `Unavailable`,
    whose message begins with `what`.
    """
    asked = f"{request.method} {request.path}\n".encode() + msgspec.json.encode(body)
    settings = who.services.settings
    async with reached(what):
        return await once(
            who.services.pool,
            who.operator,
            body.ref,
            hashlib.sha256(asked).digest(),
            change,
            within_s=settings.turn_timeout_s,
        )


def kept(result: object, salt: bytes | None = None) -> Kept:
    """An answer in the form in which it is stored."""
    return Kept(msgspec.json.encode(result).decode(), salt)


def answered(found: Once, status: int = 200) -> web.Response:
    """Send the stored answer."""
    return result(msgspec.Raw(found.kept.answer.encode()), status, repeated=found.repeated)


def result(document: object, status: int = 200, *, repeated: bool = False) -> web.Response:
    """An answer that no cache may store."""
    headers = {"Cache-Control": "no-store"} | ({REPLAYED: "true"} if repeated else {})
    return web.Response(body=result_json(document), status=status, content_type="application/json", headers=headers)
