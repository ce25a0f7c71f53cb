"""What is told where there is nothing."""

from __future__ import annotations

import pytest

from api.absent import nothing_here, wrong_method
from api.operator_routes import OPERATOR_ROUTES
from api.routes import ROUTES

ROUTED = [route.path for route in ROUTES]
OFFERED = ("/v1/batches", "/v1/chat/completions", "/v1/files", "/v1/messages", "/v1/models")


@pytest.mark.parametrize(
    "path",
    [
        "/v1/embeddings",
        "/v1/completions",
        "/v1/audio/speech",
        "/v1/images/generations",
        "/v1/moderations",
        "/v1/assistants",
        "/v1/threads/thread_1/messages",
        "/v1/vector_stores/vs_1/files",
        "/v1/messages/batches/msgbatch_1/nothing",
        "/v1/nothing",
    ],
)
def test_an_endpoint_that_is_not_offered_is_named_with_those_that_are(path: str) -> None:
    told = nothing_here("POST", path, ROUTED)
    assert told.startswith(f"This service does not offer POST {path}.")
    assert all(one in told for one in OFFERED)
    assert "base URL" not in told


@pytest.mark.parametrize(
    ("path", "meant"),
    [
        ("/v1/v1/messages", "/v1/messages"),
        ("/messages", "/v1/messages"),
        ("/chat/completions", "/v1/chat/completions"),
        ("/openai/v1/chat/completions", "/v1/chat/completions"),
        ("/v1/chat/completions/chat/completions", "/v1/chat/completions"),
        ("/api/endpoint/chat/completions", "/v1/chat/completions"),
        ("//v1/messages", "/v1/messages"),
        ("/v1/models/", "/v1/models"),
        ("/models", "/v1/models"),
    ],
)
def test_a_wrong_base_url_is_told_with_the_path_that_was_meant(path: str, meant: str) -> None:
    told = nothing_here("POST", path, ROUTED)
    assert told.startswith(f"There is no POST {path}: set the client's base URL so that it calls {meant}.")


@pytest.mark.parametrize("path", ["/nothing", "/api/nothing", "/api/models/x"])
def test_elsewhere_the_chat_endpoints_are_named(path: str) -> None:
    assert "POST /api/endpoint" in nothing_here("GET", path, ROUTED)


@pytest.mark.parametrize("path", ["/operator", "/operator/nope", "/operator/queues/x"])
def test_below_the_operators_api_its_description_is_named_or_that_it_is_off(path: str) -> None:
    with_api = [*ROUTED, *(route.path for route in OPERATOR_ROUTES)]
    assert "GET /operator/openapi.json describes" in nothing_here("GET", path, with_api)
    assert "OPERATOR_API=0" in nothing_here("GET", path, ROUTED)


@pytest.mark.parametrize(("method", "path"), [("GET", "/v1/" + "x" * 200), ("GET", "/v1/a\nb"), ("X" * 30, "/v1/x")])
def test_only_what_looks_like_a_path_is_repeated(method: str, path: str) -> None:
    assert "what was called" in nothing_here(method, path, ROUTED)
    assert "what was called" in wrong_method(method, path, "POST")
