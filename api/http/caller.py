"""The caller, seen through the proxies in front of this service: headers of proxies in `TRUSTED_PROXIES` are believed,
others are not.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from aiohttp import web

from api.http.state import SETTINGS
from shared.addresses import Address, Network, address_in


def address_of(request: web.Request) -> str | None:
    """The caller's address: the rightmost in `X-Forwarded-For` that is not a trusted proxy's. None if there is none, as on
    a Unix socket.
    """
    trusted = request.app[SETTINGS].trusted_proxies
    seen = address_in(request.remote or "")
    said = ",".join(request.headers.getall("X-Forwarded-For", [])).split(",")
    while said and seen is not None and _is_trusted(seen, trusted):
        before = address_in(said.pop())
        if before is None:
            break
        seen = before
    return None if seen is None else str(seen)


def base_url_of(request: web.Request) -> str:
    """The address of this service, to be put before a path: `PUBLIC_URL`, otherwise the address that the caller used.
    Empty if the `Host` header is no address.
    """
    settings = request.app[SETTINGS]
    if settings.public_url:
        return settings.public_url
    try:
        return str(request.url.origin().with_scheme(_scheme_of(request)))
    except ValueError:
        return ""


def root_of(request: web.Request) -> str:
    """The path of `PUBLIC_URL`, to be put before the addresses on a page. A proxy offers this service under that path and
    takes the path off. Empty if there is none.
    """
    return urlsplit(request.app[SETTINGS].public_url or "").path


async def finish_location(request: web.Request, response: web.StreamResponse) -> None:
    """Signal handler for every answer: put the path of `PUBLIC_URL` before a path in `Location`."""
    if response.headers.get("Location", "").startswith("/"):
        response.headers["Location"] = root_of(request) + response.headers["Location"]


def _scheme_of(request: web.Request) -> str:
    """The last word of `X-Forwarded-Proto` if a trusted proxy sent it, otherwise the connection's scheme."""
    seen = address_in(request.remote or "")
    said = request.headers.get("X-Forwarded-Proto", "").rpartition(",")[2].strip().lower()
    if seen is not None and said in {"http", "https"} and _is_trusted(seen, request.app[SETTINGS].trusted_proxies):
        return said
    return request.scheme


def _is_trusted(address: Address, trusted: tuple[Network, ...]) -> bool:
    return any(address in network for network in trusted)
