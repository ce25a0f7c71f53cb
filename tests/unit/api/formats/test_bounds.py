"""Hostile shapes against every surface: a body is refused by the bound that it is beyond or by its field, or it is taken;
what is only large costs what its bytes cost.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import msgspec
import pytest

from api.formats.anthropic.chat import parse_count, parse_message
from api.formats.asked import Asked
from api.formats.native.batches import parse_line
from api.formats.native.chat import parse_chat_request
from api.formats.openai.chat import parse_completion
from api.formats.openai.files import LineParser
from shared.chat import MESSAGES_CEILING, TOOLS_CEILING
from shared.errors import InvalidRequest
from shared.json_bounds import JSON_DEPTH_MAX, JSON_NODES_MAX, Bounds, put_in_force

USER = b'{"role":"user","content":"x"}'
WIDE = b"[" + b"[]," * (JSON_NODES_MAX // 2) + b"0]"
MANY = 100_000
VALUES = f"The body has more than {JSON_NODES_MAX} values"


class Surface(NamedTuple):
    """`body` makes a body of more fields and more messages."""

    name: str
    parse: Callable[[bytes], Asked]
    start: bytes = b'{"model":"m"'
    end: bytes = b"}"

    def body(self, fields: bytes = b"", messages: bytes = b"") -> bytes:
        return b"%s,%s]%s%s" % (self.start, b'"messages":[' + USER + messages, fields, self.end)

    def refusal(self, body: bytes) -> str:
        """The words with which the body is refused; none when it is taken."""
        try:
            self.parse(body)
        except InvalidRequest as error:
            return error.message
        return ""


def _line(start: bytes, url: bytes) -> bytes:
    return b'{"custom_id":"1","method":"POST","url":"%s","body":%s' % (url, start)


LIMITED = b'{"model":"m","max_tokens":5'
NATIVE = Surface("native", parse_chat_request)
COMPLETIONS = Surface("completions", parse_completion)
MESSAGES = Surface("messages", parse_message, LIMITED)
COUNT = Surface("count", parse_count)
NATIVE_LINE = Surface("native line", lambda body: parse_line(body).asked, b'{"custom_id":"1","model":"m"')
COMPLETIONS_LINE = Surface(
    "completions line",
    lambda body: LineParser()(body).asked,
    _line(b'{"model":"m"', b"/v1/chat/completions"),
    b"}}",
)
MESSAGES_LINE = Surface("messages line", lambda body: LineParser()(body).asked, _line(LIMITED, b"/v1/messages"), b"}}")
OPENAIS, ANTHROPICS = (COMPLETIONS, COMPLETIONS_LINE), (MESSAGES, COUNT, MESSAGES_LINE)
NATIVES = (NATIVE, NATIVE_LINE)
SURFACES = (*NATIVES, *OPENAIS, *ANTHROPICS)


def over(*surfaces: Surface) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("surface", surfaces, ids=[surface.name for surface in surfaces])


def deep(levels: int) -> bytes:
    return b"[" * levels + b"]" * levels


def openai_schema(inside: bytes) -> bytes:
    return b',"tools":[{"type":"function","function":{"name":"f","parameters":{"type":"object","x":%s}}}]' % inside


def openai_call(inside: bytes) -> bytes:
    call = b'{"id":"c","function":{"name":"f","arguments":"{}","parsed_arguments":%s}}' % inside
    turns = b'{"role":"assistant","tool_calls":[%s]},{"role":"tool","tool_call_id":"c","content":"x"}' % call
    return b',"messages":[%s,%s]' % (USER, turns)


def anthropic_call(inside: bytes) -> bytes:
    call = b'{"role":"assistant","content":[{"type":"tool_use","id":"c","name":"f","input":{"x":%s}}]}' % inside
    result = b'{"role":"user","content":[{"type":"tool_result","tool_use_id":"c","content":"x"}]}'
    return b',"messages":[%s,%s,%s]' % (USER, call, result)


def anthropic_schema(inside: bytes) -> bytes:
    return b',"tools":[{"name":"f","input_schema":{"type":"object","x":%s}}]' % inside


PLACES: dict[str, tuple[tuple[Surface, ...], Callable[[bytes], bytes]]] = {
    "modalities": (OPENAIS, lambda value: b',"modalities":' + value),
    "store": (OPENAIS, lambda value: b',"store":' + value),
    "parameters": (OPENAIS, openai_schema),
    "response_format": (OPENAIS, lambda value: b',"response_format":{"type":"json_object","schema":{"x":%s}}' % value),
    "parsed": (
        OPENAIS,
        lambda value: b',"messages":[%s,{"role":"assistant","content":"x","parsed":%s}]' % (USER, value),
    ),
    "parsed_arguments": (OPENAIS, openai_call),
    "input": (ANTHROPICS, anthropic_call),
    "thread": ((MESSAGES, MESSAGES_LINE), lambda value: b',"thread":' + value),
    "input_schema": (ANTHROPICS, anthropic_schema),
    "output_format": (ANTHROPICS, lambda value: b',"output_format":{"type":"json_schema","schema":{"x":%s}}' % value),
}
"""Where a value may have any form."""
ANY_FORM = [
    pytest.param(surface, fields, id=f"{surface.name}-{name}")
    for name, (surfaces, fields) in PLACES.items()
    for surface in surfaces
]


def unknown(value: bytes) -> bytes:
    return b',"unknown":' + value


EVERYWHERE = [*ANY_FORM, *(pytest.param(surface, unknown, id=f"{surface.name}-unknown") for surface in SURFACES)]


@pytest.fixture
def few() -> Iterator[None]:
    put_in_force(Bounds(1_000, 20))
    yield
    put_in_force(Bounds())


@pytest.mark.parametrize(("surface", "fields"), EVERYWHERE)
@pytest.mark.parametrize(
    "value",
    [
        WIDE,
        b'["",' + b'",",' * JSON_NODES_MAX + b"0]",
        b"[" * 1_000_000,
        b'{"k":0' + b',"k":0' * JSON_NODES_MAX + b"}",
    ],
    ids=["lists", "strings", "only opened", "one name"],
)
def test_too_many_values_are_refused_wherever_they_stand(
    surface: Surface, fields: Callable[[bytes], bytes], value: bytes
) -> None:
    assert surface.refusal(surface.body(fields(value))).startswith(VALUES)


@pytest.mark.parametrize(("surface", "fields"), ANY_FORM)
def test_too_many_levels_are_refused_by_name(surface: Surface, fields: Callable[[bytes], bytes]) -> None:
    for value in (deep(JSON_DEPTH_MAX + 1), b'{"k":' * 600 + b"0" + b"}" * 600):
        refusal = surface.refusal(surface.body(fields(value)))
        assert f"` is nested too deeply: objects and lists may lie in each other {JSON_DEPTH_MAX} times" in refusal
    assert "nested too deeply" not in surface.refusal(surface.body(fields(deep(JSON_DEPTH_MAX - 1))))


@over(*SURFACES)
@pytest.mark.parametrize("start", [b"[", b'{"k":'], ids=["lists", "objects"])
def test_what_is_too_deep_for_the_decoder_is_a_refusal(surface: Surface, start: bytes) -> None:
    """Also where the field is unknown, and so passed over."""
    assert surface.refusal(surface.body(unknown(start * 10_000)))
    if surface not in NATIVES:
        assert surface.parse(surface.body(unknown(deep(600)))).ignored == ("unknown",)


@over(*SURFACES)
def test_brackets_in_a_text_are_text(surface: Surface) -> None:
    text = b'\\"[[{,' * JSON_NODES_MAX
    assert surface.refusal(surface.body(messages=b',{"role":"user","content":"%s"}' % text)) == ""
    assert surface.refusal(surface.body(messages=b',{"role":"user","content":"%s' % text)).startswith(
        "The body is not valid JSON"
    )


@over(*SURFACES)
def test_what_is_in_force_holds_for_every_surface(surface: Surface, few: None) -> None:
    assert surface.refusal(surface.body()) == ""
    messages = b',{"role":"user","content":"x"}' * 400
    assert surface.refusal(surface.body(messages=messages)).startswith("The body has more than 1000 values")


@pytest.mark.parametrize(("surface", "fields"), ANY_FORM)
def test_the_depth_in_force_holds_for_every_place(
    surface: Surface, fields: Callable[[bytes], bytes], few: None
) -> None:
    assert "20 times" in surface.refusal(surface.body(fields(deep(21))))
    assert "times" not in surface.refusal(surface.body(fields(deep(19))))


@over(*SURFACES)
def test_a_text_that_is_wrong_is_not_repeated_whole(surface: Surface) -> None:
    long = b"x" * 1_000_000
    for body in (surface.body(messages=b',{"role":"%s","content":"x"}' % long), surface.body()[:-10] + long):
        assert 0 < len(surface.refusal(body)) < 1_000
    if surface in NATIVES:
        assert len(surface.refusal(surface.body(b',"%s":1' % long))) < 1_000


@over(*SURFACES)
def test_more_messages_than_are_ever_taken_are_refused_by_name(surface: Surface) -> None:
    """Also where each has a field that is unknown."""
    many = b',{"role":"assistant","content":"x"},{"role":"user","content":"x"}' * (MESSAGES_CEILING // 2)
    assert "messages" in surface.refusal(surface.body(messages=many))
    if surface not in NATIVES:
        assert "messages" in surface.refusal(surface.body(messages=many.replace(b'"x"}', b'"x","y":1}')))


@over(*OPENAIS, *ANTHROPICS)
def test_more_tools_than_are_ever_taken_are_refused_by_name(surface: Surface) -> None:
    tools = b'{"type":"hosted","y":1},' * TOOLS_CEILING + b'{"type":"hosted"}'
    assert "tools" in surface.refusal(surface.body(b',"tools":[%s]' % tools))


@over(*SURFACES)
def test_very_many_parts_are_taken(surface: Surface) -> None:
    part = b'{"type":"text","text":"x"}'
    parts = b"%s]}" % (b',{"role":"user","content":[' + part + (b"," + part) * MANY)
    asked = surface.parse(surface.body(messages=parts))
    assert sum(len(message.text()) for message in asked.messages) == MANY + 2
    assert asked.fingerprint() == surface.parse(surface.body(messages=parts.replace(b",", b" ,"))).fingerprint()


@over(*OPENAIS, *ANTHROPICS)
def test_what_is_unknown_in_very_many_parts_is_named_once(surface: Surface) -> None:
    part = b'{"mood":{"x":[1]},"type":"text","text":"x"}'
    asked = surface.parse(surface.body(messages=b',{"role":"user","content":[%s]}' % (part + (b"," + part) * 60_000)))
    assert asked.ignored == ("messages[].content[].mood",)


@over(*OPENAIS, *ANTHROPICS)
def test_more_different_unknown_fields_than_any_client_has_are_refused(surface: Surface) -> None:
    fields = b"".join(b',"u%d":1' % number for number in range(MANY))
    assert "different fields that are unknown" in surface.refusal(surface.body(fields))
    few = b"".join(b',"u%d":1' % number for number in range(900))
    assert len(surface.parse(surface.body(few)).ignored) == 900


@over(*OPENAIS, *ANTHROPICS)
def test_what_is_unknown_is_cut_out_undecoded(surface: Surface) -> None:
    """Numbers that no float holds would fail if they were decoded."""
    asked = surface.parse(surface.body(b',"unknown":[1e999,{"messages":1}],"again":1e999,"nothing": [ ]'))
    assert asked.ignored == ("unknown", "again")
    assert "JSON" in surface.refusal(surface.body(b',"unknown":[1e999,{"messages":}]'))


def test_a_value_of_any_kind_is_compared_as_it_is() -> None:
    """Within the bounds such values are decoded, though they are only compared."""
    some: dict[str, Any] = {"a": [[]] * 1_000}
    for field in ("modalities", "logit_bias", "n", "audio", "functions"):
        assert field in COMPLETIONS.refusal(COMPLETIONS.body(b',"%s":%s' % (field.encode(), msgspec.json.encode(some))))
