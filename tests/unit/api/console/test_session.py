"""What a session's cookie says, and whose forms are taken, where a proxy ends TLS before the front door."""

from __future__ import annotations

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from api.console.session import keep_cookie, require_own_site
from api.http.state import SETTINGS
from shared.errors import PermissionDenied
from shared.settings import Settings

STORES = {"DATABASE_URL": "postgresql://", "REDIS_URL": "redis://"}
PUBLIC = {"PUBLIC_URL": "https://llm.example.com"}
PROXY = {"TRUSTED_PROXIES": "127.0.0.1"}
OVER_TLS = {"X-Forwarded-Proto": "https"}


async def _signed_in(environment: dict[str, str], headers: dict[str, str]) -> tuple[int, str]:
    """The status of a form from these headers, and the cookie of its answer."""
    settings = Settings.load(STORES | environment)

    async def sign_in(request: web.Request) -> web.Response:
        try:
            require_own_site(request)
        except PermissionDenied as error:
            return web.Response(status=error.status)
        response = web.Response()
        keep_cookie(request, response, "token", settings)
        return response

    app = web.Application()
    app[SETTINGS] = settings
    app.router.add_post("/", sign_in)
    async with TestClient(TestServer(app)) as client, client.post("/", headers=headers) as response:
        return response.status, response.headers.get("Set-Cookie", "")


@pytest.mark.parametrize(
    ("environment", "headers", "is_secure"),
    [
        (PUBLIC, {}, True),
        (PROXY, OVER_TLS, True),
        ({}, OVER_TLS, False),  # said by somebody who is not trusted
        ({}, {}, False),
        ({"PUBLIC_URL": "http://llm.example.com"}, {}, False),
    ],
)
async def test_the_cookie_is_sent_over_tls_alone_where_the_service_is_called_so(
    environment: dict[str, str], headers: dict[str, str], *, is_secure: bool
) -> None:
    _, cookie = await _signed_in(environment, headers)
    words = {word.strip() for word in cookie.split(";")}
    assert {"HttpOnly", "SameSite=Strict", "Path=/console"} <= words
    assert ("Secure" in words) is is_secure


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        ("https://llm.example.com", 200),
        ("https://llm.example.com.evil.example", 403),
        ("https://evil.example", 403),
        ("null", 403),
    ],
)
async def test_a_form_is_taken_from_the_public_address_alone(origin: str, status: int) -> None:
    assert (await _signed_in(PUBLIC, {"Origin": origin, "Host": "inner:8080"}))[0] == status
