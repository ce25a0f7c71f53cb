"""The documentation as it is served, and real answers held against it."""

from __future__ import annotations

from typing import Any

import jsonschema
import pytest

from shared.ledger.api_keys import KeyRules
from tests.e2e.conftest import NewCaller
from tests.harness.caller import MODEL, THROTTLED_MODEL, Caller, Reply, told

PAGES = [
    "/docs",
    "/docs/billing",
    "/docs/errors",
    "/docs/guides",
    "/docs/guides/batches",
    "/docs/guides/browsers",
    "/docs/guides/operators",
    "/docs/guides/requests",
    "/docs/clients",
    "/docs/clients/curl",
    "/docs/ui/index.html",
]
BROWSER = {"Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}


async def the_document(caller: Caller) -> dict[str, Any]:
    document: dict[str, Any] = (await caller.request("GET", "/openapi.json")).json
    return document


def fits(reply: Reply, document: dict[str, Any], method: str, path: str) -> None:
    """The status, the media type, the body and the headers are documented ones."""
    response = document["paths"][path][method.lower()]["responses"][str(reply.status)]
    media = response["content"][reply.headers["Content-Type"].partition(";")[0]]
    whole = {**media["schema"], "components": document["components"]}
    checker = jsonschema.Draft202012Validator(whole, format_checker=jsonschema.FormatChecker())
    checker.validate(reply.json)
    assert "x-request-id" in reply.headers
    assert ("Retry-After" in reply.headers) <= ("Retry-After" in response["headers"])


async def test_the_documentation_needs_no_key(caller: Caller) -> None:
    caller.key = ""
    for path in ["/openapi.json", *PAGES]:
        assert (await caller.request("GET", path)).status == 200


@pytest.mark.parametrize("path", [*PAGES, "/docs/ui/swagger-ui.css", "/docs/ui/explorer.js", "/docs/ui/style.css"])
async def test_pages_are_served_from_here_and_may_load_nothing_from_elsewhere(caller: Caller, path: str) -> None:
    reply = await caller.request("GET", path)
    assert reply.status == 200
    assert reply.headers["Content-Security-Policy"].startswith("default-src 'self'")
    assert reply.headers["X-Content-Type-Options"] == "nosniff"
    assert (await caller.request("HEAD", path)).status == 200


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_a_browser_that_opens_the_bare_address_is_led_to_the_console(caller: Caller, method: str) -> None:
    caller.key = ""
    redirect = await caller.request(method, "/", headers=BROWSER, allow_redirects=False)
    assert (redirect.status, redirect.headers["Location"], redirect.body) == (302, "/console", b"")
    assert redirect.headers["Vary"] == "Accept"
    documented = (await the_document(caller))["paths"]["/"]["get"]["responses"]["302"]
    assert "Location" in documented["headers"]
    page = await caller.request("GET", "/", headers=BROWSER)
    assert (page.status, page.headers["Content-Type"]) == (200, "text/html; charset=utf-8")


@pytest.mark.parametrize("accept", ["*/*", "application/json", "text/html;q=0, application/json"])
async def test_other_clients_get_links_from_the_bare_address_and_each_link_leads_somewhere(
    caller: Caller, accept: str
) -> None:
    reply = await caller.request("GET", "/", headers={"Accept": accept}, allow_redirects=False)
    assert (reply.status, reply.headers["Vary"]) == (200, "Accept")
    for path in reply.json["result"].values():
        assert (await caller.request("GET", path)).status != 404


@pytest.mark.parametrize("file", ["nothing.js", "index.css", "..%2f..%2fopenapi.py", "%2e%2e"])
async def test_other_files_are_not_served(caller: Caller, file: str) -> None:
    assert (await caller.request("GET", f"/docs/ui/{file}")).status == 404


@pytest.mark.parametrize("path", ["/api/account", "/api/models", "/api/requests", "/", "/healthz", "/readyz"])
async def test_what_is_read_is_as_documented(caller: Caller, path: str) -> None:
    fits(await caller.request("GET", path), await the_document(caller), "GET", path)


@pytest.mark.parametrize(
    "options",
    [{}, {"stats": False}, {"temperature": 0.5, "stop": ["x"]}, {"max_tokens": 0}, {"nonsense": 1}],
)
async def test_answers_and_refusals_are_as_documented(caller: Caller, options: dict[str, Any]) -> None:
    document = await the_document(caller)
    fits(await caller.chat(told(tokens=2), **options), document, "POST", "/api/endpoint")


@pytest.mark.parametrize(
    ("script", "model"),
    [
        ({"status": 500}, MODEL),
        ({"status": 429}, THROTTLED_MODEL),
        ({"fault": "retired"}, MODEL),
        ({}, "amazon-nova-lite"),
        ({}, "gpt-9"),
    ],
)
async def test_failures_are_as_documented(caller: Caller, script: dict[str, Any], model: str) -> None:
    document = await the_document(caller)
    reply = await caller.chat(told(**script), model=model)
    assert reply.status >= 400
    fits(reply, document, "POST", "/api/endpoint")


async def test_refusals_for_want_of_credit_or_right_are_as_documented(new_caller: NewCaller) -> None:
    poor, reader = await new_caller(credit=0), await new_caller(rules=KeyRules(scopes=("read",)))
    document = await the_document(poor)
    for reply, status in ((await poor.chat(told()), 402), (await reader.chat(told()), 403)):
        assert reply.status == status
        fits(reply, document, "POST", "/api/endpoint")


async def test_a_request_that_is_come_back_for_is_as_documented(caller: Caller) -> None:
    document = await the_document(caller)
    accepted = await caller.chat(told(tokens=2), headers={"Prefer": "respond-async"})
    fits(accepted, document, "POST", "/api/endpoint")
    for method in ("GET", "DELETE"):
        reply = await caller.request(method, accepted.headers["Location"])
        assert reply.status == 200
        fits(reply, document, method, "/api/requests/{id}")
    fits(await caller.request("GET", "/api/requests/req_x"), document, "GET", "/api/requests/{id}")
    beyond = await caller.request("GET", "/api/requests", params={"limit": "1000"})
    assert (beyond.status, "limit" in beyond.error["message"]) == (400, True)
    fits(beyond, document, "GET", "/api/requests")


@pytest.mark.parametrize("query", ["limit=1&limit=2", "limit=x", "page=2", "limit=", "limit=null"])
async def test_a_wrong_query_is_a_400_that_names_the_parameter(caller: Caller, query: str) -> None:
    reply = await caller.request("GET", f"/api/requests?{query}")
    assert (reply.status, reply.error["code"]) == (400, "invalid_request")
    assert query.partition("=")[0] in reply.error["message"]
