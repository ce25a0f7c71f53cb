"""Who calls, as it is told by whom, over real connections."""

from __future__ import annotations

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from api.http.caller import address_of, base_url_of
from api.http.state import SETTINGS
from shared.settings import Settings

STORES = {"DATABASE_URL": "postgresql://", "REDIS_URL": "redis://"}
FOR = "X-Forwarded-For"
PROTO = "X-Forwarded-Proto"


async def seen(environment: dict[str, str], *headers: tuple[str, str]) -> list[str]:
    """The caller's address and the service's, as a front door with this environment takes a request with these headers."""

    async def tell(request: web.Request) -> web.Response:
        return web.json_response([address_of(request), base_url_of(request)])

    app = web.Application()
    app[SETTINGS] = Settings.load(STORES | environment)
    app.router.add_get("/", tell)
    named = {name.lower() for name, _ in headers}
    sent = headers if "host" in named else (*headers, ("Host", "llm.example.com"))
    async with TestClient(TestServer(app)) as client, client.get("/", headers=sent) as response:
        told: list[str] = await response.json()
        return told


async def test_a_proxy_that_is_not_named_is_not_believed() -> None:
    assert await seen({}, (FOR, "203.0.113.9"), (PROTO, "https")) == ["127.0.0.1", "http://llm.example.com"]
    assert await seen({"TRUSTED_PROXIES": "10.0.0.0/8"}, (FOR, "203.0.113.9"), (PROTO, "https")) == [
        "127.0.0.1",
        "http://llm.example.com",
    ]


@pytest.mark.parametrize(
    ("said", "address"),
    [
        (["203.0.113.9"], "203.0.113.9"),
        (["198.51.100.1, 203.0.113.9"], "203.0.113.9"),  # the first is what the caller says of itself
        (["198.51.100.1, 203.0.113.9, 10.1.2.3", "10.4.5.6"], "203.0.113.9"),
        (["10.1.2.3"], "10.1.2.3"),
        (["203.0.113.9:4711"], "203.0.113.9"),
        (["[2001:db8::1]:443"], "2001:db8::1"),
        (["::ffff:203.0.113.9"], "203.0.113.9"),
        (["203.0.113.9, unknown, 10.1.2.3"], "10.1.2.3"),  # beyond what nobody can read nothing is believed
        ([""], "127.0.0.1"),
        ([], "127.0.0.1"),
    ],
)
async def test_the_caller_is_the_rightmost_address_that_is_no_trusted_proxy(said: list[str], address: str) -> None:
    told = await seen({"TRUSTED_PROXIES": "127.0.0.0/8,10.0.0.0/8"}, *((FOR, line) for line in said))
    assert told[0] == address


@pytest.mark.parametrize(
    ("said", "scheme"), [("https", "https"), ("http, HTTPS", "https"), ("gopher", "http"), ("", "http")]
)
async def test_a_trusted_proxy_says_how_the_caller_came(said: str, scheme: str) -> None:
    told = await seen({"TRUSTED_PROXIES": "127.0.0.1"}, (PROTO, said))
    assert told[1] == f"{scheme}://llm.example.com"


async def test_the_public_url_is_put_before_whatever_the_caller_has_called() -> None:
    told = await seen({"PUBLIC_URL": "https://llm.example.com/gateway/"}, ("Host", "other.example"))
    assert told[1] == "https://llm.example.com/gateway"


async def test_a_host_that_is_no_address_is_left_out() -> None:
    assert (await seen({}, ("Host", "llm.example.com:99999")))[1] == ""
