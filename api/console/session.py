"""Sessions: a cookie leads to a session in Postgres that acts as the API key which was shown. Nothing here reads an API key
from a header, and no API route reads the cookie.
"""

from __future__ import annotations

import asyncio
import hmac
from contextlib import suppress
from typing import NamedTuple
from urllib.parse import parse_qsl, quote, unquote, urlsplit

from aiohttp import web
from multidict import MultiDict

from api.http.caller import base_url_of, root_of
from api.http.reading import broken_off, refuse_compressed, refuse_more_than, refuse_too_large
from api.services import SERVICES
from shared.errors import InvalidRequest, PermissionDenied, UnsupportedMediaType
from shared.ledger.api_keys import ApiKey
from shared.ledger.sessions import end_session, find_session
from shared.settings import Settings
from shared.stores.postgres import reached

COOKIE = "rebootml_console"
CSRF = "csrf"
CSRF_HEADER = "x-csrf-token"
FORM_BYTES_MAX = 65_536
FIELDS_MAX = 100
FORM_TYPE = "application/x-www-form-urlencoded"
TOKEN_LENGTH_MAX = 100
OTHER_SITE = (
    "This form was not sent by a page of the console, so nothing was done: open the page again, and send it there."
)
WHAT = "The sign-in"


class Session(NamedTuple):
    """The session of a request: the key that it acts as, and the token that its forms contain."""

    key: ApiKey
    csrf: str

    def may(self, scope: str) -> bool:
        """True if the key has the scope."""
        return scope in self.key.scopes


SESSION = web.RequestKey("console_session", Session)


class SignedOut(Exception):
    """There is no session, or it has ended."""


async def session_of(request: web.Request) -> Session:
    """The session of a request. Raises `SignedOut` or `Unavailable`."""
    token = request.cookies.get(COOKIE, "")
    if not token.isalnum() or not token.isascii() or len(token) > TOKEN_LENGTH_MAX:
        raise SignedOut
    async with reached(WHAT):
        key = await find_session(request.app[SERVICES].pool, token)
    if key is None:
        raise SignedOut
    session = Session(key, csrf_of(token))
    request[SESSION] = session
    return session


async def know_session(request: web.Request) -> None:
    """Look the session up for a page that needs none, so that the page has the menu if there is one. Raises `Unavailable`."""
    with suppress(SignedOut):
        await session_of(request)


def require_scope(session: Session, scope: str) -> None:
    """Raise `PermissionDenied` if the session's key lacks the scope."""
    if not session.may(scope):
        raise PermissionDenied(
            f"The key that you signed in with lacks the scope `{scope}`: sign in with one that has it."
        )


def csrf_of(token: str) -> str:
    """The token in a session's forms; only a holder of the session's own token can compute it."""
    return hmac.digest(token.encode(), b"forms of the console", "sha256").hex()


async def form_of(request: web.Request) -> MultiDict[str]:
    """The fields of a form that a page of the console has sent; without a session it needs no token. Raises
    `PermissionDenied` for a form of another site, `UnsupportedMediaType`, `RequestTooLarge` or `InvalidRequest`.
    """
    if request.content_type != FORM_TYPE:
        raise UnsupportedMediaType(f"The console takes forms as {FORM_TYPE}.")
    refuse_compressed(request)
    refuse_too_large(request, FORM_BYTES_MAX)
    require_own_site(request)
    form = await _read(request)
    if session := request.get(SESSION):
        require_token(session, form.get(CSRF, ""))
    return form


def require_token(session: Session, given: str) -> None:
    """Raise `PermissionDenied` unless `given` is the token of the session's forms."""
    if not hmac.compare_digest(given.encode(), session.csrf.encode()):
        raise PermissionDenied(OTHER_SITE)


def require_own_site(request: web.Request) -> None:
    """Raise `PermissionDenied` if the browser says that the request comes from another site."""
    origin = request.headers.get("Origin")
    if origin is None:
        if request.headers.get("Sec-Fetch-Site", "same-origin") not in {"same-origin", "none"}:
            raise PermissionDenied(OTHER_SITE)
        return
    own = {request.host, urlsplit(base_url_of(request)).netloc}
    if urlsplit(origin).netloc not in own:
        raise PermissionDenied(OTHER_SITE)


async def _read(request: web.Request) -> MultiDict[str]:
    within_s = request.app[SERVICES].settings.body_within_s
    try:
        async with asyncio.timeout(within_s):
            data = await request.read()
        refuse_more_than(FORM_BYTES_MAX, len(data))
        fields = parse_qsl(data.decode(), keep_blank_values=True, errors="strict", max_num_fields=FIELDS_MAX)
    except (TimeoutError, web.RequestPayloadError, web.HTTPRequestEntityTooLarge):
        raise broken_off(request, within_s) from None
    except ValueError:
        raise InvalidRequest(
            "The form is no UTF-8, or has too many fields: send it from a page of the console."
        ) from None
    if any("\0" in value for _, value in fields):
        raise InvalidRequest("A field has a NUL: leave it out.")
    return MultiDict(fields)


def keep_cookie(request: web.Request, response: web.Response, token: str, settings: Settings) -> None:
    """Sign the browser in. The cookie is sent to the console only, by the console's own pages, and by https only if the
    request came so.
    """
    response.set_cookie(
        COOKIE,
        token,
        max_age=int(settings.console_session_s),
        path=f"{root_of(request)}/console",
        httponly=True,
        samesite="Strict",
        secure=base_url_of(request).startswith("https://"),
    )


async def sign_out(request: web.Request, response: web.Response) -> None:
    """End the browser's session. Raises `Unavailable`."""
    async with reached(WHAT):
        await end_session(request.app[SERVICES].pool, request.cookies[COOKIE])
    response.del_cookie(COOKIE, path=f"{root_of(request)}/console", httponly=True, samesite="Strict")


def sign_in_address(request: web.Request) -> str:
    """The address of the sign-in, which leads back to the requested page afterwards."""
    here = request.rel_url.raw_path_qs if request.method == "GET" else ""
    return f"/console?next={quote(here, safe='')}" if next_page(here) else "/console"


def next_page(text: str) -> str | None:
    """The text if it is the address of a console page, otherwise None."""
    parts = urlsplit(text)
    is_page = parts.path.startswith("/console/") and not parts.netloc and not parts.scheme
    steps = unquote(parts.path).split("/")
    is_plain = not {".", ".."} & set(steps) and "" not in steps[1:-1]
    is_safe = is_page and is_plain and "\\" not in unquote(text) and not set(text) & set("\r\n\t")
    return text if is_safe and not parts.path.startswith(("/console/api/", "/console/enter/")) else None
