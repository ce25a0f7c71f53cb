"""Hints for caches, from each API's form into the project's own."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from api.formats.anthropic.chat import parse_message
from api.formats.asked import Asked
from api.formats.cache_marks import CacheControl, end_mark
from api.formats.openai.chat import parse_completion
from api.formats.responses.chat import parse_response
from api.requests.model_check import fit_to_model
from shared.catalogue.models import load_catalogue
from shared.chat import CacheMark, Caching
from shared.errors import InvalidRequest
from shared.settings import Settings

CATALOGUE = load_catalogue()
SETTINGS = Settings.load({"DATABASE_URL": "postgresql://db/x", "REDIS_URL": "redis://r"})
MARK = {"cache_control": {"type": "ephemeral"}}
LONG_MARK = {"cache_control": {"type": "ephemeral", "ttl": "1h"}}
BREAKPOINT = {"prompt_cache_breakpoint": {"mode": "explicit", "ttl": "12h"}}
TEXT = {"type": "text", "text": "x"}
INPUT = {"type": "input_text", "text": "x"}
USE = {"type": "tool_use", "id": "c", "name": "f", "input": {}}
RESULT = {"type": "tool_result", "tool_use_id": "c", "content": [TEXT]}
PIXEL = {"type": "base64", "media_type": "image/png", "data": "AAAA"}
SCHEMA = {"type": "object"}
CALL = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}


def messaged(**fields: Any) -> Asked:
    return parse_message(json.dumps({"model": "m", "max_tokens": 9, **fields}).encode())


def completed(**fields: Any) -> Asked:
    return parse_completion(json.dumps({"model": "m", **fields}).encode())


def responded(**fields: Any) -> Asked:
    return parse_response(json.dumps({"model": "m", **fields}).encode())


def marks(asked: Asked) -> list[tuple[CacheMark, ...]]:
    return [message.cache_marks for message in asked.messages]


def test_anthropics_marks_stand_on_blocks_tools_and_the_whole_request() -> None:
    asked = messaged(
        system=[TEXT, TEXT | LONG_MARK],
        messages=[
            {"role": "user", "content": [TEXT, {"type": "image", "source": PIXEL} | MARK]},
            {"role": "assistant", "content": [TEXT, TEXT, USE | MARK]},
            {"role": "user", "content": [RESULT | MARK, TEXT]},
        ],
        tools=[
            {"name": "web_search", "type": "web_search_20250305"},
            {"name": "f", "input_schema": SCHEMA},
            {"name": "g", "input_schema": SCHEMA} | LONG_MARK,
        ],
        **MARK,
    )
    at = CacheMark
    assert marks(asked) == [(at(1, long=True),), (at(1),), (at(2),), (at(0),), (at(0),)]
    assert asked.tools.cache_marks == (at(1, long=True),)
    names = ("tools[].cache_control", "system[].cache_control", "messages[].content[].cache_control", "cache_control")
    assert (asked.wishes["cache"], asked.ignored) == (names, ("tools[].web_search_20250305",))
    assert asked.wishes["cache_time"] == ("tools[].cache_control.ttl", "system[].cache_control.ttl")


def test_a_call_without_words_is_marked_behind_the_empty_text_that_it_goes_with() -> None:
    asked = messaged(
        messages=[
            {"role": "user", "content": "x"},
            {"role": "assistant", "content": [USE | MARK]},
            {"role": "user", "content": [{**RESULT, "content": [TEXT, TEXT | MARK]}]},
        ]
    )
    assert marks(asked) == [(), (CacheMark(1),), (CacheMark(1),)]


def test_marks_of_chat_completions_stand_on_messages_parts_and_tools() -> None:
    function = {"name": "f", "parameters": SCHEMA}
    asked = completed(
        messages=[
            {"role": "system", "content": "s"} | LONG_MARK,
            {"role": "user", "content": [TEXT | BREAKPOINT, TEXT | MARK, TEXT]},
            {"role": "assistant", "content": None, "tool_calls": [CALL]} | MARK,
            {"role": "tool", "content": "r", "tool_call_id": "c"} | MARK,
        ],
        tools=[
            {"type": "function", "function": function | MARK},
            {"type": "function", "function": function | {"name": "g"}} | MARK,
        ],
    )
    at = CacheMark
    assert marks(asked) == [(at(0, long=True),), (at(0, long=True), at(1)), (at(1),), (at(0),)]
    assert asked.tools.cache_marks == (at(0), at(1))
    assert set(asked.wishes["cache"]) == {
        "tools[].cache_control",
        "tools[].function.cache_control",
        "messages[].cache_control",
        "messages[].content[].cache_control",
        "messages[].content[].prompt_cache_breakpoint",
    }


def test_marks_of_responses_stand_on_parts_and_are_not_kept() -> None:
    asked = responded(input=[{"role": "user", "content": [INPUT, INPUT | BREAKPOINT]}])
    assert marks(asked) == [(CacheMark(1, long=True),)]
    assert asked.wishes["cache"] == ("input[].content[].prompt_cache_breakpoint",)
    assert asked.stored_input is not None
    assert b"cache" not in asked.stored_input.input


@pytest.mark.parametrize("surface", ["completions", "responses"])
def test_openais_options_are_wishes(surface: str) -> None:
    options = {"prompt_cache_key": "k", "prompt_cache_options": {"mode": "explicit", "ttl": "30m"}}
    retention = {"prompt_cache_retention": "24h"}
    said = {"messages": [{"role": "user", "content": "x"}]} if surface == "completions" else {"input": "x"}
    asked = (completed if surface == "completions" else responded)(**said, **options, **retention)
    assert asked.sampling.caching == Caching(key="k", explicit=True, retention="24h")
    assert set(asked.wishes) == {"cache_key", "cache_mode", "cache_retention"}


@pytest.mark.parametrize(
    ("model", "caching", "ignored"),
    [
        ("openai-gpt-5.6-terra", Caching(key="k", explicit=True), ("prompt_cache_retention",)),
        ("openai-gpt-5.2", Caching(key="k", retention="24h"), ("prompt_cache_options",)),
        (
            "deepseek-flash",
            Caching(),
            ("prompt_cache_key", "prompt_cache_options", "prompt_cache_retention"),
        ),
    ],
)
def test_what_a_model_has_of_openais_options_is_done_and_the_rest_named(
    model: str, caching: Caching, ignored: tuple[str, ...]
) -> None:
    asked = completed(
        messages=[{"role": "user", "content": "x"}],
        prompt_cache_key="k",
        prompt_cache_options={"mode": "explicit"},
        prompt_cache_retention="24h",
    )
    fitted, _ = fit_to_model(asked, CATALOGUE.find(model), SETTINGS)
    assert (fitted.sampling.caching, fitted.ignored) == (caching, ignored)


@pytest.mark.parametrize(
    ("model", "kept", "is_named"),
    [
        ("anthropic-claude-sonnet-4-6", 4, True),
        ("openai-gpt-5.6-terra", 4, True),
        ("openai-gpt-4o", 0, False),
        ("google-gemini-3.8-flash", 0, False),
        ("deepseek-flash", 0, False),
        ("meta-llama4-scout", 0, True),
    ],
)
def test_marks_that_a_model_lacks_are_left_out_and_named_where_its_vendor_does_not_cache_by_itself(
    model: str, kept: int, *, is_named: bool
) -> None:
    asked = completed(messages=[{"role": "user", "content": "x"} | MARK] * 5)
    fitted, _ = fit_to_model(asked, CATALOGUE.find(model), SETTINGS)
    assert sum(map(len, marks(fitted))) == kept
    assert fitted.ignored == (("messages[].cache_control",) if is_named else ())
    if is_named:
        with pytest.raises(InvalidRequest, match="this key is strict"):
            fit_to_model(asked, CATALOGUE.find(model), SETTINGS, strict=True)


def test_a_mark_where_there_is_none_is_named() -> None:
    asked = responded(input=[{"role": "user", "content": "x", **MARK}])
    assert asked.wishes == {"cache_elsewhere": ("input[].cache_control",)}
    claude, gpt = (CATALOGUE.find(name) for name in ("anthropic-claude-sonnet-4-6", "openai-gpt-4o"))
    assert fit_to_model(asked, claude, SETTINGS)[0].ignored == ("input[].cache_control",)
    assert fit_to_model(asked, gpt, SETTINGS)[0].ignored == ()


def test_requests_that_differ_in_hints_only_ask_for_the_same() -> None:
    plain = messaged(messages=[{"role": "user", "content": [TEXT]}])
    marked = messaged(messages=[{"role": "user", "content": [TEXT | LONG_MARK]}], **MARK)
    assert plain.fingerprint() == marked.fingerprint()
    assert msgspec.structs.replace(marked.messages[0], cache_marks=()) == plain.messages[0]


@pytest.mark.parametrize(
    ("mark", "words"),
    [
        ({"type": "ephemeral", "ttl": "2h"}, "cache_control.ephemeral.ttl: Input should be '5m' or '1h'"),
        ({"type": "ephemeral", "ttl": "12h"}, "cache_control.ephemeral.ttl: Input should be '5m' or '1h'"),
        ({"type": "ephemeral", "ttl": 300}, "Expected `str | null`, got `int`"),
        ({"type": "persistent"}, "does not match any of the expected tags: 'ephemeral'"),
        ({"ttl": "1h"}, "missing required field `type`"),
        ("ephemeral", "Expected `object | null`, got `str`"),
    ],
)
def test_messages_refuse_a_mark_that_anthropic_refuses(mark: Any, words: str) -> None:
    said = {"role": "user", "content": "x"}
    at_places: list[dict[str, Any]] = [
        {"messages": [{"role": "user", "content": [TEXT | {"cache_control": mark}]}]},
        {"messages": [said], "system": [TEXT | {"cache_control": mark}]},
        {"messages": [said], "tools": [{"name": "f", "input_schema": SCHEMA, "cache_control": mark}]},
        {"messages": [said], "cache_control": mark},
    ]
    for fields in at_places:
        with pytest.raises(InvalidRequest, match=re.escape(words)):
            messaged(**fields)


def at_completions(mark: dict[str, Any]) -> Asked:
    return completed(messages=[{"role": "user", "content": [TEXT | mark]}])


def at_responses(mark: dict[str, Any]) -> Asked:
    return responded(input=[{"role": "user", "content": [INPUT | mark]}])


@pytest.mark.parametrize(("asked_by", "field"), [(at_completions, "messages"), (at_responses, "input")])
@pytest.mark.parametrize(
    ("mark", "taken", "ignored"),
    [
        ({"cache_control": {"type": "ephemeral", "ttl": "2h"}}, True, "cache_control.ttl"),
        ({"cache_control": {"type": "persistent", "ttl": "1h"}}, False, "cache_control"),
        ({"prompt_cache_breakpoint": {"mode": "explicit", "ttl": "1d"}}, True, "prompt_cache_breakpoint.ttl"),
        ({"prompt_cache_breakpoint": {"mode": "implicit"}}, False, "prompt_cache_breakpoint"),
    ],
)
def test_elsewhere_what_is_unknown_of_a_mark_is_named(
    asked_by: Callable[[dict[str, Any]], Asked], field: str, mark: dict[str, Any], ignored: str, *, taken: bool
) -> None:
    asked = asked_by(mark)
    assert marks(asked) == [(CacheMark(0),) if taken else ()]
    fitted, _ = fit_to_model(asked, CATALOGUE.find("anthropic-claude-sonnet-4-6"), SETTINGS)
    assert fitted.ignored == (f"{field}[].content[].{ignored}",)
    with pytest.raises(InvalidRequest, match="this key is strict"):
        fit_to_model(asked, CATALOGUE.find("anthropic-claude-sonnet-4-6"), SETTINGS, strict=True)


@pytest.mark.parametrize(
    ("model", "system", "said", "named"),
    [
        ("anthropic-claude-sonnet-4-6", LONG_MARK, LONG_MARK, False),
        ("anthropic-claude-sonnet-4-6", MARK, LONG_MARK, True),
        ("amazon-nova-lite", LONG_MARK, MARK, True),
        ("openai-gpt-5.6-terra", LONG_MARK, MARK, True),
        ("openai-gpt-5.6-terra", MARK, MARK, False),
        ("deepseek-flash", LONG_MARK, LONG_MARK, False),
    ],
)
def test_an_hour_that_becomes_minutes_is_named(
    model: str, system: dict[str, Any], said: dict[str, Any], *, named: bool
) -> None:
    asked = messaged(system=[TEXT | system], messages=[{"role": "user", "content": [TEXT | said]}])
    fitted, _ = fit_to_model(asked, CATALOGUE.find(model), SETTINGS)
    assert any(name.endswith(".cache_control.ttl") for name in fitted.ignored) == named
    assert len(fitted.ignored) == named


@pytest.mark.parametrize(("ttl", "long"), [(None, False), ("5m", False), ("1h", True), ("2h", False), ("12h", True)])
def test_only_the_long_times_that_are_known_are_long(ttl: str | None, *, long: bool) -> None:
    assert end_mark(1, CacheControl(ttl=ttl)) == CacheMark(0, long=long)
