"""What a session's cookie says, and whose forms are taken, where a proxy ends TLS before the front door."""

from __future__ import annotations

import re

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from api.console import frame
from api.console.session import keep_cookie, require_own_site
from api.endpoints import docs
from api.http.caller import finish_location
from api.http.state import SETTINGS
from shared.errors import PermissionDenied
from shared.settings import Settings

STORES = {"DATABASE_URL": "postgresql://", "REDIS_URL": "redis://"}
PUBLIC = {"PUBLIC_URL": "https://llm.example.com"}
PROXY = {"TRUSTED_PROXIES": "127.0.0.1"}
ADDRESS = re.compile(r'(?:href|src|action)="(/[^"]*)"')
BARE = re.compile(r"[\"'`=]/(?:console|docs)\b")
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


async def _under_a_path(path: str) -> tuple[str, str, dict[str, str]]:
    """Below `/llm` of a proxy: the console's sign-in, a page of the manual, and the headers of an answer that leads on."""
    settings = Settings.load(STORES | {"PUBLIC_URL": f"https://llm.example.com{path}"})

    async def leads_on(request: web.Request) -> web.Response:
        response = web.Response(status=303, headers={"Location": "/console/models"})
        keep_cookie(request, response, "token", settings)
        return response

    async def sign_in(request: web.Request) -> web.Response:
        return frame.render(request, "sign_in.html", going_to="", wrong="")

    app = web.Application()
    app[SETTINGS] = settings
    app.on_response_prepare.append(finish_location)
    frame.set_up(app)
    app.router.add_get("/console", sign_in)
    app.router.add_get("/docs/billing", docs.get_billing)
    app.router.add_get("/on", leads_on)
    async with TestClient(TestServer(app)) as client:
        pages = [await (await client.get(page)).text() for page in ("/console", "/docs/billing")]
        headers = (await client.get("/on", allow_redirects=False)).headers
        return pages[0], pages[1], dict(headers)


@pytest.mark.parametrize("path", ["", "/llm", "/a/b"])
async def test_links_redirects_and_the_cookie_stay_under_the_path_of_the_public_url(path: str) -> None:
    *pages, headers = await _under_a_path(path)
    for page in pages:
        addresses = ADDRESS.findall(page)
        assert addresses
        assert all(re.match(rf"{path}/(console|docs|openapi\.json)", address) for address in addresses)
    assert headers["Location"] == f"{path}/console/models"
    assert f"Path={path}/console;" in headers["Set-Cookie"]


def test_no_address_in_a_template_or_script_forgets_the_path() -> None:
    files = [path for path in frame.FOLDER.rglob("*.*") if path.suffix in {".html", ".js"}]
    texts = {path.name: path.read_text(encoding="utf-8").replace('root ~ "/', "") for path in files}
    assert not {name for name, text in texts.items() if BARE.search(text)}


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
