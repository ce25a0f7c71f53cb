"""The document says what the code does: its routes, its types, its errors."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterator
from typing import Any

import jsonschema
import msgspec
import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from api.app import create_app
from api.formats.native.answers import json_bytes
from api.formats.native.chat import parse_chat_request
from api.manual import openapi
from api.manual.route import Route
from api.operator_routes import OPERATOR_ROUTES
from api.routes import ROUTES
from shared.settings import Settings

SETTINGS = Settings(database_url="postgresql://", redis_url="redis://")


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    whole: dict[str, Any] = json.loads(openapi.document(ROUTES))
    return whole


def schema(document: dict[str, Any], name: str) -> dict[str, Any]:
    found: dict[str, Any] = document["components"]["schemas"][name]
    return found


def test_the_document_says_where_the_service_is_called(document: dict[str, Any]) -> None:
    assert document["servers"] == [{"url": "/"}]
    known = json.loads(openapi.document(ROUTES, "https://llm.example.com"))
    assert known["servers"] == [{"url": "https://llm.example.com"}]


@pytest.fixture(scope="module")
def of_operators() -> dict[str, Any]:
    whole: dict[str, Any] = json.loads(openapi.document(OPERATOR_ROUTES, introduction=openapi.OPERATORS))
    return whole


def test_the_documents_are_valid_openapi(document: dict[str, Any], of_operators: dict[str, Any]) -> None:
    for one in (document, of_operators):
        OpenAPIV31SpecValidator(one).validate()


def routed_by(settings: Settings) -> set[tuple[str, str]]:
    """Without the console's pages, which are no API."""
    routes = create_app(settings).router.routes()
    called = {(route.method, route.resource.canonical) for route in routes if route.resource}
    return {(method, path) for method, path in called if method != "HEAD" and not path.startswith("/console")}


def documented_in(document: dict[str, Any]) -> set[tuple[str, str]]:
    return {(method.upper(), path) for path, methods in document["paths"].items() for method in methods}


def test_what_the_application_routes_is_what_is_documented(
    document: dict[str, Any], of_operators: dict[str, Any]
) -> None:
    assert routed_by(SETTINGS) == documented_in(document) | documented_in(of_operators)
    without = msgspec.structs.replace(SETTINGS, operator_api=False)
    assert routed_by(without) == documented_in(document)


def test_operators_take_tokens_alone(document: dict[str, Any], of_operators: dict[str, Any]) -> None:
    assert set(of_operators["components"]["securitySchemes"]) == {"operator"}
    assert set(document["components"]["securitySchemes"]) == {"bearer", "x-api-key"}
    operation = of_operators["paths"]["/operator/accounts/{id}/credit"]["post"]
    assert operation["security"] == [{"operator": ["accounts"]}]
    assert {"200", "400", "401", "403", "404", "409", "413", "415", "429", "503"} == set(operation["responses"])


def test_operations_have_ids_of_their_own(document: dict[str, Any]) -> None:
    ids = [operation["operationId"] for methods in document["paths"].values() for operation in methods.values()]
    assert len(set(ids)) == len(ids)
    assert "get_api_requests_id_stream" in ids


def test_every_reference_leads_somewhere(document: dict[str, Any], of_operators: dict[str, Any]) -> None:
    for one in (document, of_operators):
        names = {part.split('"')[0] for part in json.dumps(one).split('"#/components/schemas/')[1:]}
        assert names <= one["components"]["schemas"].keys()


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.name)
def test_every_path_parameter_is_explained(route: Route) -> None:
    assert set(route.parameters) == set(route.path_parameters)


def test_bodies_are_strict_and_their_limits_are_said(document: dict[str, Any]) -> None:
    assert schema(document, "ChatRequest")["additionalProperties"] is False
    options = schema(document, "Options")["properties"]
    assert {"type": "integer", "minimum": 1, "maximum": 2**31 - 1} in options["max_tokens"]["anyOf"]
    assert {"type": "number", "minimum": 0, "maximum": 2} in options["temperature"]["anyOf"]


def test_parts_of_a_message_are_told_apart_by_their_type(document: dict[str, Any]) -> None:
    parts = schema(document, "NativeMessage")["properties"]["content"]["anyOf"][1]["items"]
    assert parts["discriminator"]["propertyName"] == "type"
    assert set(parts["discriminator"]["mapping"]) == {"text", "image_url"}


def test_blocks_of_an_earlier_answer_may_have_a_type_that_is_not_documented(document: dict[str, Any]) -> None:
    blocks = schema(document, "AssistantTurn")["properties"]["content"]["anyOf"][1]["items"]
    for block in (
        {"type": "text", "text": "x"},
        {"type": "server_tool_use", "id": "a"},
        {"type": "of_a_later_release"},
    ):
        _validate(block, blocks, document)
    assert "discriminator" not in blocks
    with pytest.raises(jsonschema.ValidationError):
        _validate({"text": "x"}, blocks, document)


def test_amounts_are_numbers_or_decimal_strings_as_they_are_sent(document: dict[str, Any]) -> None:
    assert schema(document, "ChatAnswer")["properties"]["price"]["type"] == "number"
    assert schema(document, "Wallet")["properties"]["balance_usd"]["pattern"]
    assert {"type": "string", "format": "date"} in schema(document, "ListedModel")["properties"]["ends_on"]["anyOf"]


def test_an_amount_that_is_sent_may_be_a_number_or_a_string(document: dict[str, Any]) -> None:
    limit = schema(document, "NewKeyBody")["properties"]["limit_usd"]["anyOf"][0]
    assert limit == {"type": ["string", "number"], "format": "decimal"}


def test_only_tokens_and_price_may_be_missing_of_an_answer(document: dict[str, Any]) -> None:
    answer = schema(document, "ChatAnswer")
    assert set(answer["properties"]) - set(answer["required"]) == {"tokens_input", "tokens_output", "price"}


def test_queries_say_their_types_and_defaults(document: dict[str, Any]) -> None:
    parameters = {one["name"]: one for one in document["paths"]["/api/requests"]["get"]["parameters"]}
    assert (parameters["limit"]["in"], parameters["limit"]["required"]) == ("query", False)
    assert (parameters["limit"]["schema"]["maximum"], parameters["limit"]["schema"]["default"]) == (100, 20)
    assert parameters["cursor"]["schema"]["type"] == "string"


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.name)
def test_no_query_takes_null(route: Route, document: dict[str, Any]) -> None:
    for parameter in document["paths"][route.path][route.method.lower()]["parameters"]:
        assert '"null"' not in json.dumps(parameter)


def test_an_error_is_documented_with_its_codes_and_an_example_of_each(document: dict[str, Any]) -> None:
    response = document["paths"]["/api/endpoint"]["post"]["responses"]["503"]
    media = response["content"]["application/json"]
    codes = {"unavailable", "overloaded", "provider_busy", "provider_not_configured"}
    assert set(media["schema"]["allOf"][1]["properties"]["error"]["properties"]["code"]["enum"]) == codes
    assert set(media["examples"]) == codes
    assert "Retry-After" in response["headers"]


def test_keys_are_asked_for_where_a_scope_is_needed(document: dict[str, Any]) -> None:
    assert document["paths"]["/api/endpoint"]["post"]["security"] == [{"bearer": ["inference"]}]
    assert document["paths"]["/healthz"]["get"]["security"] == []


def test_the_example_is_a_request_that_is_taken_and_an_answer_that_is_given(document: dict[str, Any]) -> None:
    operation = document["paths"]["/api/endpoint"]["post"]
    body = json_bytes(operation["requestBody"]["content"]["application/json"]["example"])
    assert parse_chat_request(body).max_tokens == 64
    media = operation["responses"]["200"]["content"]["application/json"]
    _validate(media["example"], media["schema"], document)


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.name)
def test_every_example_of_an_error_is_as_its_schema_says(route: Route, document: dict[str, Any]) -> None:
    for response in document["paths"][route.path][route.method.lower()]["responses"].values():
        for media in response["content"].values():
            for example in media.get("examples", {}).values():
                _validate(example["value"], media["schema"], document)


def _validate(value: Any, schema: dict[str, Any], document: dict[str, Any]) -> None:
    whole = {**schema, "components": document["components"]}
    jsonschema.Draft202012Validator(whole).validate(value)


LEANING = re.compile(r"(Whether|What|When|Where|Why|How|Who|Whose|As|Of|In|Its?|They|Those|These|The same)\b")
"""Beginnings of a description that does not name its thing, but needs the field's name or a neighbour to be understood."""


def undescribed(document: dict[str, Any]) -> list[str]:
    """Where a schema, a property, a parameter or a header has no description, or one that does not name its thing."""
    lacking = [name for name, one in document["components"]["schemas"].items() if _words(one) < 4]
    lacking += [f"{where}.{name}" for where, name, one in _properties(document) if _words(one) < 2]
    for path, methods in document["paths"].items():
        for operation in methods.values():
            named = [*((one["name"], one) for one in operation["parameters"])]
            named += [pair for answer in operation["responses"].values() for pair in answer["headers"].items()]
            lacking += [f"{path} {name}" for name, one in named if max(_words(one), _words(one["schema"])) < 3]
    return lacking


def _words(part: dict[str, Any]) -> int:
    """Words of its description; none if it leans on something else."""
    description = part.get("description", "")
    return 0 if LEANING.match(description) else len(description.split())


def _properties(part: Any, where: str = "") -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Every property of every schema but those that only narrow the codes of an error (`allOf`)."""
    for name, inner in part.items() if isinstance(part, dict) else enumerate(part):
        if name == "properties" and "/allOf/" not in where:
            yield from ((where, field, one) for field, one in inner.items())
        if isinstance(inner, dict | list) and name not in {"example", "examples"}:
            yield from _properties(inner, f"{where}/{name}")


def test_everything_that_is_sent_and_answered_is_described(
    document: dict[str, Any], of_operators: dict[str, Any]
) -> None:
    assert undescribed(document) == []
    assert undescribed(of_operators) == []


def test_what_is_not_described_is_found(document: dict[str, Any]) -> None:
    whole = copy.deepcopy(document)
    del whole["components"]["schemas"]["Completion"]["description"]
    whole["components"]["schemas"]["Wallet"]["properties"]["name"]["description"] = "Name."
    whole["components"]["schemas"]["Wallet"]["properties"]["held_usd"]["description"] = "What running requests hold."
    del whole["paths"]["/api/requests"]["get"]["parameters"][0]["schema"]["description"]
    found = [one.rpartition("/")[2] for one in undescribed(whole)]
    assert found == ["Completion", "Wallet.name", "Wallet.held_usd", "requests limit"]
