"""`GET /`, `/openapi.json` and `/docs`: the manual for machines and people, served by this process alone."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import msgspec
from aiohttp import web
from swagger_ui_bundle import swagger_ui_path

from api.formats.native.answers import result_json
from api.http.caller import root_of
from api.http.reading import accepts
from api.http.writing import send_whole
from api.manual import pages as manual
from api.services import SERVICES
from shared.errors import NotFound

OPENAPI = web.AppKey("openapi", bytes)
"""The document, created once in `app.py`."""
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}
"""Pages load nothing from elsewhere and send no referrer."""
MEDIA_TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".png": "image/png"}
OF_SWAGGER_UI = ("swagger-ui.css", "swagger-ui-bundle.js", "favicon-32x32.png")


class Links(msgspec.Struct, frozen=True, kw_only=True):
    """Paths of this service from which everything else can be found."""

    docs: str
    """The path of the manual."""
    openapi: str
    """The path of the API's description as OpenAPI 3.1."""
    endpoint: str
    """The path to which chat requests are sent."""
    models: str
    """The path of the list of all models."""


LINKS = Links(docs="/docs", openapi="/openapi.json", endpoint="/api/endpoint", models="/api/models")


async def get_start(request: web.Request) -> web.Response:
    """A browser (`Accept: text/html`) is redirected to the console; other clients get links as JSON."""
    headers = {"Vary": "Accept", "Cache-Control": "no-cache"}
    if accepts(request.headers.get("Accept", ""), "text/html"):
        return web.Response(status=302, headers={**headers, "Location": "/console"})
    return web.Response(body=result_json(LINKS), content_type="application/json", headers=headers)


async def get_openapi(request: web.Request) -> web.StreamResponse:
    """The description of every route, parameter, answer and error, as OpenAPI 3.1."""
    return await send_whole(request, request.app[OPENAPI], headers={"Content-Type": "application/json"})


async def get_docs(request: web.Request) -> web.Response:
    """The first page of the manual."""
    return _html(request, manual.landing(_at(request)))


async def get_errors(request: web.Request) -> web.Response:
    """The page that lists every error with its meaning and what to do."""
    return _html(request, manual.errors())


async def get_billing(request: web.Request) -> web.Response:
    """The page that says what a request costs, however it ends."""
    return _html(request, manual.billing())


async def get_fields(request: web.Request) -> web.Response:
    """The page that says what becomes of each field of OpenAI's and Anthropic's APIs, by class of model."""
    services = request.app[SERVICES]
    return _html(request, manual.fields(services.catalogue, services.settings))


async def get_guides(request: web.Request) -> web.Response:
    """The list of guides."""
    return _html(request, manual.index("guides", _at(request)))


async def get_clients(request: web.Request) -> web.Response:
    """The list of pages about clients and libraries."""
    return _html(request, manual.index("clients", _at(request)))


async def get_guide(request: web.Request) -> web.Response:
    """One guide."""
    return _html(request, manual.page("guides", request.match_info["name"], _at(request)))


async def get_client(request: web.Request) -> web.Response:
    """The page about one client or library."""
    return _html(request, manual.page("clients", request.match_info["name"], _at(request)))


async def get_ui(request: web.Request) -> web.StreamResponse:
    """The files of the API explorer; `index.html` is the first."""
    path = _files().get(request.match_info["file"])
    if path is None:
        raise NotFound("There is no such file: GET /docs/ui/index.html is the API explorer.")
    return web.FileResponse(path, headers={**HEADERS, "Content-Type": _content_type(path)})


def _at(request: web.Request) -> str | None:
    return request.app[SERVICES].settings.public_url


@cache
def _files() -> dict[str, Path]:
    """By name, the files of Swagger UI and our own that start it."""
    own = {path.name: path for path in (manual.PAGES / "ui").iterdir()}
    return own | {name: Path(str(swagger_ui_path)) / name for name in OF_SWAGGER_UI}


def _content_type(path: Path) -> str:
    kind = MEDIA_TYPES[path.suffix]
    return f"{kind}; charset=utf-8" if kind.startswith("text/") else kind


def _html(request: web.Request, page: str) -> web.Response:
    """The page, whose own links have the path of `PUBLIC_URL`; in its text quotes are escaped, so only links are changed."""
    if root := root_of(request):
        page = page.replace('href="/', f'href="{root}/')
    return web.Response(text=page, content_type="text/html", headers=HEADERS)
