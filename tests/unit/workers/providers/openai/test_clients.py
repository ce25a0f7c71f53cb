from __future__ import annotations

import ssl

import pytest

from workers.providers.openai.clients import Clients, Head
from workers.providers.protocol import Limits

LIMITS = Limits(connections=2, connect_s=1, read_s=60)


async def _head(base_url: str | None = None, path: str = "/chat/completions") -> Head:
    clients = Clients("a-key", base_url, LIMITS)
    try:
        return await clients.head_of(path)
    finally:
        await clients.close()


async def test_the_sdk_says_what_stands_before_a_body(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    head = await _head()
    assert head.url == "https://api.openai.com/v1/chat/completions"
    assert head.headers["Authorization"] == "Bearer a-key"
    assert head.headers["Content-Type"] == "application/json"
    assert head.headers["User-Agent"].startswith("AsyncOpenAI/Python")
    assert not {"Content-Length", "Host", "Connection"} & {name.title() for name in head.headers}


async def test_another_address_is_asked_there() -> None:
    assert (await _head("http://127.0.0.1:9/v1")).url == "http://127.0.0.1:9/v1/chat/completions"


async def test_the_authorities_certificates_are_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    read = []
    monkeypatch.setattr(ssl.SSLContext, "load_verify_locations", lambda *_, **places: read.append(places))
    for key in ("a-key", "another-key"):
        clients = Clients(key, None, LIMITS)
        await clients.head_of("/chat/completions")
        assert not clients.session.closed
        await clients.close()
    assert len(read) <= 1  # none, if another test has made a call


@pytest.mark.parametrize(
    ("variables", "proxy"),
    [
        ({}, None),
        ({"https_proxy": "http://proxy:3128"}, "http://proxy:3128"),
        ({"all_proxy": "http://proxy:3128"}, "http://proxy:3128"),
        ({"https_proxy": "proxy:3128"}, "http://proxy:3128"),
        ({"http_proxy": "http://proxy:3128"}, None),
        ({"https_proxy": "http://proxy:3128", "no_proxy": "api.openai.com"}, None),
    ],
)
async def test_a_proxy_is_used_as_the_environment_says(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], proxy: str | None
) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert (await _head()).proxy == proxy


async def test_an_exception_from_the_proxy_may_name_a_port(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://proxy:3128")
    monkeypatch.setenv("no_proxy", "vendor.example:8443")
    assert (await _head("http://vendor.example:8443/v1")).proxy is None
    assert (await _head("http://vendor.example:8080/v1")).proxy == "http://proxy:3128"


async def test_an_exception_from_the_proxy_may_be_an_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://proxy:3128")
    monkeypatch.setenv("no_proxy", "::1")
    assert (await _head("http://[::1]:8443/v1")).proxy is None


async def test_who_is_named_in_the_address_is_sent_as_a_header() -> None:
    head = await _head("http://user:secret@vendor.example/v1")
    assert head.url == "http://vendor.example/v1/chat/completions"
    assert head.headers["Authorization"].startswith("Basic ")
