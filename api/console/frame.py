"""The frame of all console pages: templates with escaping, static files with a hash in their name, security headers."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import aiohttp_jinja2
import jinja2
from aiohttp import web

from api.console import shown
from api.console.session import SESSION
from api.http.caller import root_of

FOLDER = Path(__file__).parent
HASH_LENGTH = 12
MEDIA_TYPES = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
FOR_EVER = "public, max-age=31536000, immutable"
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self';"
        " form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Frame-Options": "DENY",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
"""Pages load nothing from elsewhere, contain no inline script or style, and cannot be framed. The referrer stays within the
console; without any referrer browsers do not send the origin of a form.
"""
PAGES = (
    ("playground", "Playground"),
    ("models", "Models"),
    ("usage", "Usage"),
    ("requests", "Requests"),
    ("batches", "Batches"),
    ("keys", "Keys"),
    ("balance", "Balance"),
)
"""The menu: the word in the path, and the title."""


def is_console(path: str) -> bool:
    """True if the path belongs to the console."""
    return path == "/console" or path.startswith("/console/")


def _files() -> dict[str, tuple[str, bytes]]:
    """By name with hash: the media type and the bytes."""
    found = {}
    for path in sorted((FOLDER / "static").iterdir()):
        content = path.read_bytes()
        name = f"{path.stem}.{hashlib.sha256(content).hexdigest()[:HASH_LENGTH]}{path.suffix}"
        found[name] = (MEDIA_TYPES[path.suffix], content)
    return found


FILES = _files()
_NAMES = {f"{name.partition('.')[0]}.{name.rpartition('.')[2]}": name for name in FILES}


def address_of_file(name: str) -> str:
    """The address of a static file, which changes with its content."""
    return f"/console/static/{_NAMES[name]}"


def set_up(app: web.Application) -> None:
    """Register the templates with the application, and add the headers to every answer of the console."""
    environment = aiohttp_jinja2.setup(
        app,
        loader=jinja2.FileSystemLoader(FOLDER / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        filters=shown.FILTERS,
    )
    environment.globals.update(file=address_of_file, pages=PAGES)
    app.on_response_prepare.append(_add_headers)


def render(
    request: web.Request,
    template: str,
    *,
    status: int = 200,
    headers: Mapping[str, str] | None = None,
    **context: object,
) -> web.Response:
    """A page. All values in `context` are escaped; `root` goes before every address."""
    session = request.get(SESSION)
    here = request.path.removeprefix("/console/").partition("/")[0]
    response = aiohttp_jinja2.render_template(
        template, request, {"session": session, "here": here, "root": root_of(request), **context}, status=status
    )
    response.headers.update(headers or {})
    return response


def render_live(request: web.Request, template: str, **context: object) -> web.Response:
    """A page that its script asks for again; 304 while it is unchanged."""
    response = render(request, template, status=200, headers=None, **context)
    tag = f'"{hashlib.sha256(response.body).hexdigest()[:HASH_LENGTH]}"'  # type: ignore[arg-type] # bytes of a text
    if request.headers.get("If-None-Match") == tag:
        return web.Response(status=304, headers={"ETag": tag})
    response.headers["ETag"] = tag
    return response


async def get_file(request: web.Request) -> web.Response:
    """A static file; its content never changes under its name."""
    found = FILES.get(request.match_info["name"])
    if found is None:
        raise web.HTTPNotFound
    media_type, content = found
    return web.Response(body=content, content_type=media_type, charset="utf-8", headers={"Cache-Control": FOR_EVER})


async def _add_headers(request: web.Request, response: web.StreamResponse) -> None:
    if is_console(request.path):
        for name, value in HEADERS.items():
            response.headers.setdefault(name, value)
