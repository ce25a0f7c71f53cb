"""However a vendor mixes the pieces of its calls and its text, the official clients make the JSON answer of the stream."""

from __future__ import annotations

import json
from typing import Any, NamedTuple, cast

import pytest
from anthropic._streaming import SSEDecoder
from anthropic.lib.streaming._messages import accumulate_event
from hypothesis import given
from hypothesis import strategies as st
from openai.lib.streaming.chat import ChatCompletionStreamState
from openai.types.chat import ChatCompletionChunk

from api.formats.anthropic.chat import MessagesForm
from api.formats.calls import PARSES_MAX, CallsInOrder
from api.formats.openai.chat import parse_completion
from api.formats.responses.chat import parse_response
from shared.answers import parts_of, whole
from shared.chat import CallPiece
from shared.ids import new_id
from shared.job import AnswerPart, Chunk, Done, Event
from shared.money import Usage
from tests.harness.rendering import rendered

ID, MODEL, USAGE = new_id("req"), "some-model", Usage(1, 2)
RESPONSE = b'{"model": "some-model", "input": "hi", "stream": true}'
BODY = b'{"model": "some-model", "messages": [{"role": "user", "content": "hi"}], "stream": true}'
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
VALUES = st.recursive(TEXT | st.integers(-9, 9), lambda one: st.lists(one) | st.dictionaries(TEXT, one))
OBJECTS = st.builds(json.dumps, st.dictionaries(TEXT, VALUES), indent=st.sampled_from([None, 1]))
ARGUMENTS = st.just("") | st.builds(str.__add__, OBJECTS, st.sampled_from(["", " \n\n"]))
"""Blanks behind an object are told as long as no other call has begun."""


class Answer(NamedTuple):
    """What a vendor sends, and the same as a whole."""

    events: list[Event]
    whole: Done


@st.composite
def answers(draw: st.DrawFn) -> Answer:
    """Calls in pieces, any of which may say the name; all mixed with text, in any order but that within a call."""
    queues: list[list[AnswerPart]] = [[Chunk(text) for text in draw(st.lists(TEXT, max_size=4))]]
    for index in range(draw(st.integers(1, 4))):
        arguments = draw(ARGUMENTS)
        cuts = sorted(draw(st.lists(st.integers(0, len(arguments)), max_size=5)))
        pieces = [arguments[start:end] for start, end in zip([0, *cuts], [*cuts, len(arguments)], strict=True)]
        named = draw(st.integers(0, len(pieces) - 1))
        told = [(f"call_{index}", f"tool_{index}") if place == named else (None, None) for place in range(len(pieces))]
        queues.append([CallPiece(index, piece, *names) for piece, names in zip(pieces, told, strict=True)])
    parts: list[AnswerPart] = []
    while any(queues):
        parts.append(draw(st.sampled_from([queue for queue in queues if queue])).pop(0))
    done = Done("tool_calls", USAGE, 5)
    return Answer([*parts, done], whole(done, parts))


def messages_events(events: list[Event]) -> list[dict[str, Any]]:
    form = MessagesForm().stream("", ID, MODEL)
    data = b"".join(rendered(form, number, event) for number, event in enumerate(events))
    return [event.json() for event in SSEDecoder().iter_bytes(iter([data]))]


def accumulated(events: list[Event]) -> tuple[list[dict[str, Any]], list[Any]]:
    """The blocks that the official client makes of the stream, and each as it was when it was closed."""
    snapshot, buffers, closed = None, dict[int, bytes](), list[Any]()
    open_block = None
    for event in messages_events(events):
        snapshot = accumulate_event(event=cast("Any", event), current_snapshot=snapshot, json_bufs=buffers)
        match event["type"]:
            case "content_block_start":
                assert (open_block, event["index"]) == (None, len(closed))
                open_block = event["index"]
            case "content_block_delta":
                assert event["index"] == open_block
            case "content_block_stop":
                assert event["index"] == open_block
                closed.append(snapshot.content[len(closed)].to_dict())
                open_block = None
    assert open_block is None
    assert snapshot is not None
    return [block.to_dict() for block in snapshot.content], closed


def said_and_used(blocks: list[dict[str, Any]]) -> tuple[str, list[dict[str, Any]]]:
    text = "".join(block["text"] for block in blocks if block["type"] == "text")
    return text, [block for block in blocks if block["type"] == "tool_use"]


@given(answers())
def test_anthropics_client_makes_the_json_answer_of_the_blocks(answer: Answer) -> None:
    blocks, closed = accumulated(answer.events)
    assert blocks == closed  # so that a client may run a tool as soon as its block is closed
    assert said_and_used(blocks) == said_and_used(json.loads(MessagesForm().answer(answer.whole, ID, MODEL))["content"])


@given(answers())
def test_openais_client_makes_the_json_answer_of_the_chunks(answer: Answer) -> None:
    form = parse_completion(BODY).form
    stream, state, finished = form.stream("", ID, MODEL), ChatCompletionStreamState(), dict[int, str]()
    data = b"".join(rendered(stream, number, event) for number, event in enumerate(answer.events))
    for block in data.split(b"\n\n")[:-2]:
        chunk = ChatCompletionChunk.model_validate_json(block.removeprefix(b"data: "))
        for event in state.handle_chunk(chunk):
            if event.type == "tool_calls.function.arguments.done":
                assert event.index not in finished
                finished[event.index] = event.arguments
    message = state.get_final_completion().choices[0].message
    expected = json.loads(form.answer(answer.whole, ID, MODEL))["choices"][0]["message"]
    assert (message.content or "") == (expected["content"] or "")
    calls = [(call.id, call.function.name, call.function.arguments.rstrip()) for call in message.tool_calls or []]
    functions = [(one["id"], one["function"]) for one in expected["tool_calls"]]
    assert calls == [(call_id, function["name"], function["arguments"].rstrip()) for call_id, function in functions]
    assert [arguments.rstrip() for arguments in finished.values()] == [arguments for _, _, arguments in calls]


def items_of(response: dict[str, Any]) -> list[tuple[str, str]]:
    return [
        (item["id"], item["content"][0]["text"] if item["type"] == "message" else item["arguments"].rstrip())
        for item in response["output"]
    ]


@given(answers())
def test_a_streamed_response_has_the_items_of_the_json_answer_also_when_it_is_told_again(answer: Answer) -> None:
    form = parse_response(RESPONSE).form
    expected = items_of(json.loads(form.answer(answer.whole, ID, MODEL)))
    for events in (answer.events, [*parts_of(answer.whole), answer.events[-1]]):
        stream = form.stream("", ID, MODEL)
        data = b"".join(rendered(stream, number, event) for number, event in enumerate(events))
        told = [json.loads(block.partition(b"data: ")[2]) for block in data.split(b"\n\n")[:-1]]
        assert items_of(told[-1]["response"]) == expected
        done = [
            (event["item"], event["output_index"]) for event in told if event["type"] == "response.output_item.done"
        ]
        assert [index for _, index in done] == list(range(len(expected)))
        assert items_of({"output": [item for item, _ in done]}) == expected


def test_calls_that_come_one_after_the_other_are_told_at_once() -> None:
    order = CallsInOrder()
    pieces = [
        CallPiece(0, "", "call_1", "one"),
        CallPiece(0, '{"a": '),
        CallPiece(0, "{}}"),
        CallPiece(1, '{"b"', "call_2", "two"),
        CallPiece(1, ": 1}"),
    ]
    assert [list(order.feed(piece)) for piece in pieces] == [[piece] for piece in pieces]
    assert list(order.rest()) == []


def test_text_behind_a_call_that_is_whole_and_the_call_behind_it_are_told_at_once() -> None:
    form = MessagesForm().stream("", ID, MODEL)
    events: list[Event] = [CallPiece(0, "{}", "call_1", "one"), Chunk("so"), CallPiece(1, "{}", "call_2", "two")]
    told = [rendered(form, number, event) for number, event in enumerate(events)]
    assert [(b'"name":"one"' in told[0], b'"so"' in told[1], b'"name":"two"' in told[2])] == [(True, True, True)]


def test_what_belongs_to_a_later_call_waits_until_the_one_before_it_is_whole() -> None:
    order = CallsInOrder()
    assert list(order.feed(CallPiece(1, '{"b"', "call_2", "two"))) == []
    assert list(order.feed(CallPiece(0, '{"a": ', "call_1", "one"))) == [CallPiece(0, '{"a": ', "call_1", "one")]
    assert list(order.feed(CallPiece(1, ": 1}"))) == []
    assert list(order.feed(CallPiece(0, "2}"))) == [CallPiece(0, "2}"), CallPiece(1, '{"b": 1}', "call_2", "two")]


def test_calls_without_a_word_of_arguments_wait_for_the_end_and_gaps_are_closed() -> None:
    order = CallsInOrder()
    assert list(order.feed(CallPiece(0, "", "call_1", "one"))) == [CallPiece(0, "", "call_1", "one")]
    assert list(order.feed(CallPiece(5, "{}", "call_2", "two"))) == []
    assert list(order.feed(CallPiece(3, "{}"))) == []
    rest = [CallPiece(1, "{}", "", ""), CallPiece(2, "{}", "call_2", "two")]
    assert list(order.rest()) == rest


@pytest.mark.parametrize("after", [[], [CallPiece(0, "}")]])
def test_it_is_not_asked_for_ever_whether_a_call_is_whole(after: list[CallPiece]) -> None:
    order = CallsInOrder()
    pieces = [CallPiece(0, "", "call_1", "one"), CallPiece(1, "{}", "call_2", "two")]
    pieces += [CallPiece(0, '{"a":{}')] + [CallPiece(0, ',"a":{}')] * PARSES_MAX + after
    told = [one for piece in pieces for one in order.feed(piece)]
    assert [piece.index for piece in told] == [0] * (len(pieces) - 1)
    assert list(order.rest()) == [CallPiece(1, "{}", "call_2", "two")]
