"""CORS as browsers ask for it, over real connections."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from api import cors
from api.http.state import SETTINGS
from shared.settings import Settings

PAGE = "https://app.example.com"
PREFLIGHT = {"Origin": PAGE, "Access-Control-Request-Method": "POST"}
WANTED = "Access-Control-Request-Headers"


async def ask(origins: str, method: str, path: str, headers: Mapping[str, str]) -> tuple[int, Mapping[str, str]]:
    """What a front door with these `CORS_ORIGINS` answers; `/v1/files` is its only route."""

    async def found(_: web.Request) -> web.Response:
        return web.Response(text="found", headers={"Vary": "Accept"})

    app = web.Application(middlewares=[cors.answer_preflight])
    app.on_response_prepare.append(cors.let_read)
    stores = {"DATABASE_URL": "postgresql://", "REDIS_URL": "redis://"}
    app[SETTINGS] = Settings.load({**stores, "CORS_ORIGINS": origins})
    app.router.add_get("/v1/files", found)
    async with (
        TestClient(TestServer(app)) as client,
        client.request(method, path, headers=dict(headers)) as response,
    ):
        return response.status, response.headers


def granted(headers: Mapping[str, str]) -> list[str]:
    return [name for name in headers if name.lower().startswith("access-control-")]


@pytest.mark.parametrize("path", ["/v1/files", "/v1/messages/count_tokens", "/api/nothing"])
async def test_a_preflight_of_a_named_origin_is_granted_also_where_nothing_is(path: str) -> None:
    wanted = "authorization,content-type, X-Stainless-Lang ,anthropic-dangerous-direct-browser-access"
    status, headers = await ask(f"http://localhost:5173,{PAGE}", "OPTIONS", path, {**PREFLIGHT, WANTED: wanted})
    assert status == 204
    assert headers["Access-Control-Allow-Origin"] == PAGE
    assert headers["Access-Control-Allow-Methods"] == "GET, POST, DELETE"
    assert headers["Access-Control-Allow-Headers"].split(", ") == [name.strip() for name in wanted.split(",")]
    assert int(headers["Access-Control-Max-Age"]) > 0
    assert headers["Vary"] == "Origin"
    assert "Access-Control-Allow-Credentials" not in headers


async def test_only_names_of_headers_are_repeated_and_not_without_end() -> None:
    wanted = f"a b,{'x' * 101},é,," + ",".join(f"x-{n}" for n in range(100))
    _, headers = await ask(PAGE, "OPTIONS", "/v1/files", {**PREFLIGHT, WANTED: wanted})
    assert headers["Access-Control-Allow-Headers"] == ", ".join(f"x-{n}" for n in range(cors.NAMES_MAX))


async def test_an_answer_may_be_read_by_a_page_of_a_named_origin_with_all_its_headers() -> None:
    status, headers = await ask(PAGE, "GET", "/v1/files", {"Origin": PAGE})
    assert (status, headers["Access-Control-Allow-Origin"]) == (200, PAGE)
    assert headers["Access-Control-Expose-Headers"] == "*"
    assert headers.getall("Vary") == ["Accept", "Origin"]  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("origins", "path", "origin"),
    [
        ("", "/v1/files", PAGE),
        (PAGE, "/v1/files", "https://app.example.com.evil.net"),
        (PAGE, "/v1/files", "http://app.example.com"),
        (PAGE, "/v1/files", "null"),
        (PAGE, "/docs", PAGE),
        ("*", "/readyz", PAGE),
    ],
)
async def test_nothing_is_granted_to_others_nor_elsewhere(origins: str, path: str, origin: str) -> None:
    for method in ("OPTIONS", "GET"):
        status, headers = await ask(origins, method, path, {**PREFLIGHT, "Origin": origin})
        assert not granted(headers)
        assert status != 204


async def test_a_star_is_every_page_and_the_answer_is_the_same_for_all() -> None:
    for method in ("OPTIONS", "GET"):
        _, headers = await ask("*", method, "/v1/files", {**PREFLIGHT, "Origin": "null"})
        assert headers["Access-Control-Allow-Origin"] == "*"
        assert "Origin" not in headers.getall("Vary", [])  # type: ignore[attr-defined]


async def test_without_an_origin_nothing_is_granted_but_caches_are_told() -> None:
    _, headers = await ask(PAGE, "GET", "/v1/files", {})
    assert not granted(headers)
    assert "Origin" in headers.getall("Vary")  # type: ignore[attr-defined]


async def test_options_without_a_preflights_header_is_no_preflight() -> None:
    status, headers = await ask(PAGE, "OPTIONS", "/v1/files", {"Origin": PAGE})
    assert (status, headers["Allow"]) == (405, "GET,HEAD")
