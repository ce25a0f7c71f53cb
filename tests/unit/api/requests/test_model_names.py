from __future__ import annotations

import json
from typing import Any

import pytest

from api.formats.anthropic.chat import parse_message
from api.formats.native.chat import parse_chat_request
from api.formats.openai.chat import parse_completion
from api.requests.model_names import asked_in, unknown_model_first
from shared.catalogue.models import load_catalogue
from shared.errors import InvalidRequest, ModelNotFound

CATALOGUE = load_catalogue()
PARSERS = [parse_chat_request, parse_completion, parse_message]
TURN = [{"role": "user", "content": "hi"}]


def body(**fields: Any) -> bytes:
    return json.dumps({"model": "gpt-4o", "messages": TURN, **fields}).encode()


@pytest.mark.parametrize("parse", PARSERS)
def test_what_is_asked_has_the_public_name_and_the_fingerprint_of_the_body_as_it_came(parse: Any) -> None:
    limit = {} if parse is parse_chat_request else {"max_tokens": 9}
    asked = asked_in(body(**limit), parse, CATALOGUE, "/")
    assert asked.model == "openai-gpt-4o"
    assert asked.fingerprint() == parse(body(**limit)).fingerprint()


@pytest.mark.parametrize("parse", PARSERS)
def test_an_unknown_model_is_told_before_the_bodys_faults(parse: Any) -> None:
    with pytest.raises(ModelNotFound, match=r"'gpt-5'.*GET /v1/models"):
        asked_in(body(model="gpt-5", verbosity=7, messages=[]), parse, CATALOGUE, "/v1/models")
    with pytest.raises(InvalidRequest):
        asked_in(body(verbosity=7, messages=[]), parse, CATALOGUE, "/v1/models")


def test_an_unknown_model_in_a_body_without_fault_is_left_for_who_looks_it_up() -> None:
    assert asked_in(body(model="gone"), parse_chat_request, CATALOGUE, "/").model == "gone"


@pytest.mark.parametrize(
    "bad",
    [
        b"",
        b"\xff",
        b"[]",
        b'{"model": 5}',
        b'{"model": "gpt-5"',
        b'{"body": []}',
        b'{"body": {"model": null}}',
        b'{"a": ' + b"[" * 100_000,
    ],
)
def test_where_no_model_can_be_read_the_fault_itself_is_told(bad: bytes) -> None:
    with pytest.raises(InvalidRequest, match="as it came"), unknown_model_first(bad, CATALOGUE, "/"):
        raise InvalidRequest("as it came")


@pytest.mark.parametrize("line", [b'{"model": "gpt-5"}', b'{"custom_id": "1", "body": {"model": "gpt-5", "n": 2}}'])
def test_a_line_of_either_form_is_read_for_its_model(line: bytes) -> None:
    with pytest.raises(ModelNotFound, match="'gpt-5'"), unknown_model_first(line, CATALOGUE, "/"):
        raise InvalidRequest("something else")
