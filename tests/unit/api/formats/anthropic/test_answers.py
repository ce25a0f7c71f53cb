"""Answers and streams in Anthropic's form, read back by the official client's own code."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, cast

import pytest
from anthropic import types
from anthropic._streaming import SSEDecoder
from anthropic.lib.streaming._messages import accumulate_event

from api.formats.anthropic.answers import tool_input
from api.formats.anthropic.chat import MessagesForm
from shared.chat import CallPiece, ToolCall
from shared.errors import ProviderBusy, ProviderError
from shared.job import Chunk, Done, Event, Failed
from shared.json_lines import LINE_ENDS
from shared.money import Usage
from shared.thoughts import Thought, ThoughtPiece

USAGE = Usage(input=34, output=7, cached=10, written=4, written_long=1)
USAGE_JSON = {
    "input_tokens": 20,
    "cache_creation_input_tokens": 4,
    "cache_read_input_tokens": 10,
    "output_tokens": 7,
}
FORM, MODEL = MessagesForm(), "openai-gpt-4o"
TEXT = {"type": "text", "text": "It is ☀"}
SUNNY = ToolCall("call_1", "weather", '{"city": "Roma", "days": 1}')
USE = {"type": "tool_use", "id": "call_1", "name": "weather", "input": {"city": "Roma", "days": 1}}
NOW = ToolCall("call_2", "now", "")
USE_NOW = {"type": "tool_use", "id": "call_2", "name": "now", "input": {}}


def done(reason: str = "stop", text: str | None = None, calls: tuple[ToolCall, ...] = ()) -> Done:
    return Done(reason, USAGE, 1_000, text, calls)


def sent(events: Sequence[Event]) -> list[dict[str, Any]]:
    """What the client reads: the data of each event, whose type is the event's name."""
    form = FORM.stream("", "req_1", MODEL)
    data = b"".join(form.render(number, event) for number, event in enumerate(events))
    read = list(SSEDecoder().iter_bytes(iter([data])))
    assert [event.event for event in read] == [event.json()["type"] for event in read]
    return [event.json() for event in read]


def accumulated(events: Sequence[Event]) -> dict[str, Any]:
    """The message that the official client makes of a stream."""
    snapshot, buffers = None, dict[int, bytes]()
    for event in sent(events):
        snapshot = accumulate_event(event=cast("Any", event), current_snapshot=snapshot, json_bufs=buffers)
    assert snapshot is not None
    return snapshot.to_dict()


@pytest.mark.parametrize(
    ("end", "content", "stop_reason"),
    [
        (done(text="It is ☀"), [TEXT], "end_turn"),
        (done("tool_calls", None, (SUNNY,)), [USE], "tool_use"),
        (done("stop", "It is ☀", (SUNNY, NOW)), [TEXT, USE, USE_NOW], "tool_use"),
        (done("length", "It is ☀"), [TEXT], "max_tokens"),
        (done("content_filter", ""), [], "refusal"),
        (done("tool_calls", "It is ☀"), [TEXT], "end_turn"),
    ],
)
def test_the_whole_answer_as_json_and_replayed_as_a_stream(end: Done, content: list[Any], stop_reason: str) -> None:
    expected = {
        "id": "req_1",
        "type": "message",
        "role": "assistant",
        "model": "openai-gpt-4o",
        "content": content,
        "stop_reason": stop_reason,
        "stop_sequence": None,
        "usage": USAGE_JSON,
    }
    assert json.loads(FORM.answer(end, "req_1", MODEL)) == expected
    assert types.Message.model_validate_json(FORM.answer(end, "req_1", MODEL)).stop_reason == stop_reason
    assert {name: value for name, value in accumulated([end]).items() if name in expected} == expected


def test_a_stream_of_text_is_one_block() -> None:
    assert sent([Chunk("It is"), Chunk(""), Chunk(" ☀"), done()]) == [
        {
            "type": "message_start",
            "message": {
                "id": "req_1",
                "type": "message",
                "role": "assistant",
                "model": "openai-gpt-4o",
                "content": [],
                "stop_reason": None,
                "stop_sequence": None,
                "usage": dict.fromkeys(USAGE_JSON, 0),
            },
        },
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "It is"}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": " ☀"}},
        {"type": "content_block_stop", "index": 0},
        {
            "type": "message_delta",
            "delta": {"stop_reason": "end_turn", "stop_sequence": None},
            "usage": USAGE_JSON,
        },
        {"type": "message_stop"},
    ]


@pytest.mark.parametrize("line_end", list(LINE_ENDS))
def test_no_character_of_the_text_ends_a_line(line_end: str) -> None:
    events: list[Event] = [Chunk(f"a{line_end}b"), done()]
    data = FORM.stream("", "req_1", MODEL).render(0, events[0]).decode()
    assert data.splitlines() == data.split("\n")[:-1]
    assert accumulated(events)["content"][0]["text"] == f"a{line_end}b"


PIECES: list[Event] = [
    CallPiece(0, "", "call_1", "weather"),
    CallPiece(0, '{"city": "Ro'),
    CallPiece(0, 'ma", "days": 1}'),
    CallPiece(1, "", "call_2", "now"),
    done("tool_calls"),
]


def test_every_call_is_a_block_of_its_own() -> None:
    events = sent(PIECES)
    assert [event["type"] for event in events] == [
        "message_start",
        "content_block_start",
        "content_block_delta",
        "content_block_delta",
        "content_block_stop",
        "content_block_start",
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]
    assert [event["index"] for event in events if "index" in event] == [0, 0, 0, 0, 1, 1]
    assert events[1]["content_block"] == USE | {"input": {}}
    assert events[2]["delta"] == {"type": "input_json_delta", "partial_json": '{"city": "Ro'}


@pytest.mark.parametrize(
    ("events", "content"),
    [
        (PIECES, [USE, USE_NOW]),
        ([Chunk("It is"), Chunk(" ☀"), *PIECES], [TEXT, USE, USE_NOW]),
        ([*PIECES[:3], Chunk("It is ☀"), done("tool_calls")], [USE, TEXT]),
        ([PIECES[0], PIECES[3], PIECES[1], PIECES[2], done("tool_calls")], [USE, USE_NOW]),
    ],
    ids=["calls", "text and calls", "text after a call", "calls that overlap"],
)
def test_the_client_puts_text_and_calls_together(events: list[Event], content: list[Any]) -> None:
    message = accumulated(events)
    assert message["content"] == content
    assert (message["stop_reason"], message["usage"]) == ("tool_use", USAGE_JSON)


def test_a_failure_on_the_way_is_an_error_and_no_end() -> None:
    events = sent([Chunk("It"), Failed(ProviderError("The vendor broke off.").body())])
    assert [event["type"] for event in events[-2:]] == ["content_block_delta", "error"]
    assert events[-1]["error"]["type"] == "api_error"


def test_a_failure_after_keep_alives_is_the_only_event() -> None:
    assert [event["type"] for event in sent([Failed(ProviderBusy("Wait.").body())])] == ["error"]


def test_the_keep_alive_is_a_ping() -> None:
    keepalive = FORM.stream("", "req_1", MODEL).keepalive
    assert keepalive is not None
    assert [(event.event, event.json()) for event in SSEDecoder().iter_bytes(iter([keepalive]))] == [
        ("ping", {"type": "ping"})
    ]


@pytest.mark.parametrize("arguments", ["{", "[1]", '"x"', "null", "{'a': 1}", "[" * 5_000])
def test_arguments_that_are_no_object_are_not_passed_off_as_one(arguments: str) -> None:
    assert json.loads(bytes(tool_input(arguments))) == {"INVALID_JSON": arguments}


def test_arguments_are_passed_on_exactly_as_they_were_written() -> None:
    arguments = '{"n": 12345678901234567890123, "x": 1.50}'
    assert arguments.encode() in FORM.answer(done(calls=(ToolCall("call_1", "count", arguments),)), "req_1", MODEL)


THOUGHTS = (
    Thought("Hm. Rain?", "s1"),
    Thought("", "data", redacted=True),
    Thought("", "s3", after_text=7, after_calls=1),
)
THINKING = [
    {"type": "thinking", "thinking": "Hm. Rain?", "signature": "s1"},
    {"type": "redacted_thinking", "data": "data"},
    TEXT,
    USE,
    {"type": "thinking", "thinking": "", "signature": "s3"},
    USE_NOW,
]
THOUGHT_PIECES: list[Event] = [
    ThoughtPiece(0, "Hm. "),
    ThoughtPiece(0, "Rain?"),
    ThoughtPiece(0, signature="s1"),
    ThoughtPiece(1, signature="data", redacted=True),
    Chunk("It is ☀"),
    *PIECES[:3],
    ThoughtPiece(2, signature="s3"),
    *PIECES[3:],
]


def test_thoughts_are_blocks_in_their_places_also_in_a_stream() -> None:
    whole = Done("stop", USAGE, 5, "It is ☀", (SUNNY, NOW), THOUGHTS)
    assert json.loads(FORM.answer(whole, "req_1", MODEL))["content"] == THINKING
    assert accumulated([whole])["content"] == THINKING
    assert accumulated(THOUGHT_PIECES)["content"] == THINKING


def test_a_thought_comes_in_anthropics_own_events() -> None:
    said = [event for event in sent(THOUGHT_PIECES[:4]) if event["type"] != "message_start"]
    assert [event.get("delta") or event.get("content_block") for event in said] == [
        {"type": "thinking", "thinking": "", "signature": ""},
        {"type": "thinking_delta", "thinking": "Hm. "},
        {"type": "thinking_delta", "thinking": "Rain?"},
        {"type": "signature_delta", "signature": "s1"},
        None,
        {"type": "redacted_thinking", "data": "data"},
    ]


def test_a_thought_between_two_pieces_of_a_call_waits_for_the_call() -> None:
    events = [*PIECES[:2], ThoughtPiece(0, "Hm.", "s1"), PIECES[2], done("tool_calls")]
    thought = {"type": "thinking", "thinking": "Hm.", "signature": "s1"}
    assert accumulated(events)["content"] == [USE, thought]
