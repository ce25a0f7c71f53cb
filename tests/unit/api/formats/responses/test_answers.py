"""How responses and their events look, read with the official client's own types and put together by its accumulator."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import msgspec
import pytest
from openai import omit
from openai.lib.streaming.responses._responses import ResponseStreamState
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter

from api.formats.responses.chat import parse_response
from api.formats.responses.shown import response_json, stream_again
from shared.answers import whole
from shared.chat import CallPiece, ToolCall
from shared.errors import Cancelled, ContextLengthExceeded, ErrorBody, ProviderBusy, ProviderError, ProviderRejected
from shared.ids import new_id
from shared.job import Chunk, Done, Event, Failed
from shared.json_lines import LINE_ENDS
from shared.money import Usage
from shared.thoughts import Thought, ThoughtPiece
from tests.harness.rendering import rendered

ID = new_id("req", now_ms=1_700_000_000_999)
REST = ID[4:]
USAGE = Usage(10, 7, cached=4, reasoning=2, written=3)
SPACE = {"type": "namespace", "name": "agents", "description": "", "tools": [{"type": "function", "name": "spawn"}]}
TOOLS = [
    {"type": "function", "name": "clock"},
    {"type": "custom", "name": "patch", "format": {"type": "grammar", "syntax": "lark", "definition": "start: /.+/"}},
    {"type": "local_shell"},
    {"type": "shell"},
    SPACE,
]
CALLS = (
    ToolCall("call_1", "clock", '{"zone":"UTC"}'),
    ToolCall("call_2", "patch", '{"input":"*** Begin"}'),
    ToolCall("call_3", "local_shell", '{"command":["ls"]}'),
    ToolCall("call_4", "shell", '{"commands":["ls"],"timeout_ms":5}'),
    ToolCall("call_5", "spawn", "{}"),
)
ITEMS = [
    {"type": "message", "status": "completed", "role": "assistant"},
    {
        "type": "function_call",
        "status": "completed",
        "call_id": "call_1",
        "name": "clock",
        "arguments": '{"zone":"UTC"}',
    },
    {"type": "custom_tool_call", "status": "completed", "call_id": "call_2", "name": "patch", "input": "*** Begin"},
    {
        "type": "local_shell_call",
        "status": "completed",
        "call_id": "call_3",
        "action": {"type": "exec", "command": ["ls"], "env": {}},
    },
    {
        "type": "shell_call",
        "status": "completed",
        "call_id": "call_4",
        "action": {"commands": ["ls"], "timeout_ms": 5},
    },
    {
        "type": "function_call",
        "status": "completed",
        "call_id": "call_5",
        "name": "spawn",
        "arguments": "{}",
        "namespace": "agents",
    },
]
_event: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)


def form(**fields: Any) -> Any:
    return parse_response(json.dumps({"model": "some-model", "input": "hi", **fields}).encode()).form


def told(**fields: Any) -> bytes:
    stored = parse_response(json.dumps({"model": "some-model", "input": "hi", **fields}).encode()).stored_input
    assert stored is not None
    return stored.repeated


def response(done: Done, **fields: Any) -> Any:
    return Response.model_validate_json(form(**fields).answer(done, ID, "some-model"))


def all_of(stream: Any, *events: Event) -> bytes:
    assert stream.content_type == "text/event-stream"
    return (stream.opening() or b"") + b"".join(rendered(stream, number, event) for number, event in enumerate(events))


def streamed(*events: Event, **fields: Any) -> bytes:
    return all_of(form(stream=True, **fields).stream("", ID, "some-model"), *events)


def documents(data: bytes) -> list[Any]:
    *blocks, rest = data.split(b"\n\n")
    assert rest == b""
    found = []
    for block in blocks:
        name, _, document = block.partition(b"\ndata: ")
        found.append(json.loads(document))
        assert name == b"event: " + found[-1]["type"].encode()
    return found


def accumulated(data: bytes) -> Any:
    """As the client's own stream helper puts it together."""
    state: ResponseStreamState[Any] = ResponseStreamState(text_format=omit, input_tools=omit)
    last: Any = None
    for document in documents(data):
        for event in state.handle_event(_event.validate_python(document)):
            last = event
    return last.response


def plain(value: Any) -> Any:
    """Without what the client adds when it parses."""
    if isinstance(value, list):
        return [plain(one) for one in value]
    if not isinstance(value, dict):
        return value
    return {name: plain(one) for name, one in value.items() if name not in {"parsed", "parsed_arguments"}}


def pieces(calls: Sequence[ToolCall]) -> list[Event]:
    made: list[Event] = []
    for index, call in enumerate(calls):
        half = len(call.arguments) // 2
        made.append(CallPiece(index, call.arguments[:half], call.id, call.name))
        made.append(CallPiece(index, call.arguments[half:]))
    return made


def test_a_response_has_the_fields_of_openais() -> None:
    given = {
        "instructions": "Be brief.",
        "max_output_tokens": 50,
        "metadata": {"order": "7"},
        "temperature": 0.5,
        "tools": [{"type": "function", "name": "clock", "parameters": {"type": "object"}}, {"type": "web_search"}],
        "reasoning": {"effort": "low"},
        "user": "me",
    }
    assert json.loads(form(**given).answer(Done("stop", USAGE, 5, text="Hello"), ID, "some-model")) == {
        "id": f"resp_{REST}",
        "object": "response",
        "created_at": 1_700_000_000,
        "status": "completed",
        "background": False,
        "error": None,
        "incomplete_details": None,
        "instructions": "Be brief.",
        "max_output_tokens": 50,
        "max_tool_calls": None,
        "metadata": {"order": "7"},
        "model": "some-model",
        "output": [
            {
                "type": "message",
                "id": f"msg_{REST}_0",
                "status": "completed",
                "role": "assistant",
                "content": [{"type": "output_text", "text": "Hello", "annotations": [], "logprobs": []}],
            }
        ],
        "parallel_tool_calls": True,
        "previous_response_id": None,
        "reasoning": {"effort": "low", "summary": None},
        "safety_identifier": None,
        "service_tier": "default",
        "store": True,
        "temperature": 0.5,
        "text": {"format": {"type": "text"}},
        "tool_choice": "auto",
        "tools": [{"type": "function", "name": "clock", "parameters": {"type": "object"}}],
        "top_logprobs": 0,
        "top_p": None,
        "truncation": "disabled",
        "usage": {
            "input_tokens": 10,
            "input_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 3},
            "output_tokens": 7,
            "output_tokens_details": {"reasoning_tokens": 2},
            "total_tokens": 17,
        },
        "user": "me",
    }


@pytest.mark.parametrize(
    ("reason", "status", "details"),
    [
        ("stop", "completed", None),
        ("tool_calls", "completed", None),
        ("length", "incomplete", "max_output_tokens"),
        ("content_filter", "incomplete", "content_filter"),
    ],
)
def test_an_answer_that_is_not_whole_says_why(reason: str, status: str, details: str | None) -> None:
    done = Done(reason, USAGE, 5, text="x")
    for answer in (response(done), accumulated(streamed(Chunk("x"), Done(reason, USAGE, 5)))):
        assert answer.status == status
        assert (answer.incomplete_details and answer.incomplete_details.reason) == details
        assert answer.output[0].status == status
    assert documents(streamed(Chunk("x"), Done(reason, USAGE, 5)))[-1]["type"] == f"response.{status}"


def test_each_call_is_an_item_in_the_form_of_its_tool() -> None:
    answer = form(tools=TOOLS).answer(Done("tool_calls", USAGE, 5, text="Well", calls=CALLS), ID, "m")
    assert Response.model_validate_json(answer).output_text == "Well"
    output = json.loads(answer)["output"]
    prefixes = ("msg", "fc", "ctc", "lsh", "sh", "fc")
    assert [item.pop("id") for item in output] == [f"{kind}_{REST}_{place}" for place, kind in enumerate(prefixes)]
    assert output[0].pop("content")[0]["text"] == "Well"
    assert output == ITEMS


@pytest.mark.parametrize("name", ["local_shell", "shell"])
def test_a_call_that_is_not_what_its_tool_takes_is_told_as_a_functions(name: str) -> None:
    call = ToolCall("call_1", name, '{"wrong":1')
    answer = json.loads(form(tools=TOOLS).answer(Done("tool_calls", USAGE, 5, text="", calls=(call,)), ID, "m"))
    (item,) = answer["output"]
    assert (item["type"], item["name"], item["arguments"]) == ("function_call", name, '{"wrong":1')


def test_a_custom_tools_input_is_what_the_model_wrote_also_when_that_is_no_object() -> None:
    call = ToolCall("call_1", "patch", "*** Begin")
    answer = json.loads(form(tools=TOOLS).answer(Done("tool_calls", USAGE, 5, text="", calls=(call,)), ID, "m"))
    assert answer["output"][0]["input"] == "*** Begin"


def test_a_stream_of_text_has_the_events_of_openais_in_their_order() -> None:
    events = documents(streamed(Chunk("Hel"), Chunk("lo"), Done("stop", USAGE, 5)))
    assert [event["type"].removeprefix("response.") for event in events] == [
        "created",
        "in_progress",
        "output_item.added",
        "content_part.added",
        "output_text.delta",
        "output_text.delta",
        "output_text.done",
        "content_part.done",
        "output_item.done",
        "completed",
    ]
    assert [event["sequence_number"] for event in events] == list(range(10))
    assert [event["delta"] for event in events[4:6]] == ["Hel", "lo"]
    assert events[6]["text"] == events[7]["part"]["text"] == "Hello"
    assert (events[0]["response"]["status"], events[0]["response"]["output"]) == ("in_progress", [])
    for event in events:
        _event.validate_python(event, strict=True)


def test_a_stream_of_calls_has_whole_items_at_their_ends() -> None:
    events = documents(streamed(*pieces(CALLS), Done("tool_calls", USAGE, 5), tools=TOOLS))
    done = [event["item"] for event in events if event["type"] == "response.output_item.done"]
    assert [{name: item[name] for name in item if name != "id"} for item in done] == ITEMS[1:]
    kinds = [event["type"].removeprefix("response.") for event in events]
    assert kinds.count("function_call_arguments.delta") == 4
    assert kinds.count("function_call_arguments.done") == 2
    assert kinds.count("custom_tool_call_input.done") == 1
    added = [event["item"] for event in events if event["type"] == "response.output_item.added"]
    assert [item["id"] for item in added] == [item["id"] for item in done]
    assert {item["status"] for item in added} == {"in_progress"}


@pytest.mark.parametrize(
    "events",
    [
        (Chunk("Hello"), Done("stop", USAGE, 5)),
        (Chunk("Hel"), Chunk("lo"), *pieces(CALLS), Done("tool_calls", USAGE, 5)),
        (*pieces(CALLS), Done("tool_calls", USAGE, 5)),
        (Done("stop", USAGE, 5),),
        (Done("stop", USAGE, 5, text="Hello", calls=CALLS),),
        (Chunk('100 % "\\ %d \u2028'), Done("length", USAGE, 5)),
        (Done("length", USAGE, 5, text="", calls=CALLS),),
    ],
)
def test_a_stream_that_was_put_together_is_the_response(events: tuple[Event, ...]) -> None:
    text = "".join(event.text or "" for event in events if isinstance(event, Chunk | Done))
    calls = CALLS if any(isinstance(event, CallPiece) or getattr(event, "calls", ()) for event in events) else ()
    (*_, last) = events
    assert isinstance(last, Done)
    whole = Done(last.finish_reason, USAGE, 5, text, calls)
    put_together = accumulated(streamed(*events, tools=TOOLS)).to_dict()
    assert plain(put_together) == response(whole, tools=TOOLS).to_dict()
    assert documents(streamed(*events, tools=TOOLS))[-1]["response"] == json.loads(
        form(tools=TOOLS).answer(whole, ID, "some-model")
    )
    assert json.loads(response_json(told(tools=TOOLS), ID, "some-model", "succeeded", whole, None)) == json.loads(
        form(tools=TOOLS).answer(whole, ID, "some-model")
    )


def test_events_are_one_line_each_for_every_reader() -> None:
    ends = "".join(LINE_ENDS)
    data = streamed(Chunk(f"a{ends}b"), Done("stop", USAGE, 5), instructions=ends).decode()
    assert not set(data) & set(LINE_ENDS)
    assert accumulated(data.encode()).output_text == f"a{ends}b"


FAILURES: list[tuple[ErrorBody, str, str]] = [
    (ContextLengthExceeded("too long").body(), "context_length_exceeded", "too long"),
    (ProviderBusy("busy", retry_after_s=2.5).body(), "rate_limit_exceeded", "busy Please try again in 3s."),
    (ProviderRejected("no").body(), "invalid_prompt", "no"),
    (ProviderError("broken").body(), "server_error", "broken"),
]


@pytest.mark.parametrize(("error", "code", "message"), FAILURES)
def test_a_failure_has_a_code_that_codex_knows_and_what_had_come(error: ErrorBody, code: str, message: str) -> None:
    *_, last = documents(streamed(Chunk("Hel"), Failed(error, 5, USAGE)))
    assert last["type"] == "response.failed"
    assert last["response"]["error"] == {"code": code, "message": message}
    assert (last["response"]["status"], last["response"]["usage"]["input_tokens"]) == ("failed", 10)
    (item,) = last["response"]["output"]
    assert (item["status"], item["content"][0]["text"]) == ("incomplete", "Hel")
    shown = response_json(told(), ID, "some-model", "failed", Done("", USAGE, 5, "Hel"), error)
    assert json.loads(shown) == last["response"]


@pytest.mark.parametrize("include", [[], ["reasoning.encrypted_content"]])
def test_what_broke_off_in_a_thought_is_shown_as_it_was_streamed(include: list[str]) -> None:
    fields: dict[str, Any] = {"reasoning": {"summary": "auto"}, "include": include}
    pieces, error = [ThoughtPiece(0, "Hm. "), ThoughtPiece(0, "So")], ProviderError("broken").body()
    *_, last = documents(streamed(*pieces, Failed(error, 5, USAGE), **fields))
    assert [item["type"] for item in last["response"]["output"]] == ["reasoning"]
    shown = response_json(told(**fields), ID, "some-model", "failed", whole(Done("", USAGE, 5), pieces), error)
    assert json.loads(shown) == last["response"]


def test_what_was_cancelled_says_so() -> None:
    *_, last = documents(streamed(Chunk("Hel"), Failed(Cancelled("cancelled").body(), 5, USAGE)))
    assert (last["response"]["status"], last["response"]["error"]) == ("cancelled", None)
    shown = response_json(
        told(), ID, "some-model", "cancelled", Done("", USAGE, 5, "Hel"), Cancelled("cancelled").body()
    )
    assert json.loads(shown) == last["response"]


@pytest.mark.parametrize(("state", "status"), [("queued", "queued"), ("running", "in_progress")])
def test_what_has_not_ended_has_no_output_yet(state: str, status: str) -> None:
    shown = json.loads(response_json(told(), ID, "some-model", state, None, None))
    assert (shown["status"], shown["output"], shown["usage"]) == (status, [], None)


def test_a_stream_in_the_background_begins_at_once() -> None:
    stream = form(stream=True, background=True).stream("", ID, "some-model")
    begun = documents(stream.opening())
    assert [event["type"] for event in begun] == ["response.created", "response.queued"]
    assert {event["response"]["status"] for event in begun} == {"queued"}
    following = documents(rendered(stream, 0, Chunk("x")))
    assert (following[0]["type"], following[0]["sequence_number"]) == ("response.in_progress", 2)
    assert form(stream=True).stream("", ID, "some-model").opening() is None
    assert [event["type"] for event in documents(stream_again(told(), ID, "m", -1).opening() or b"")] == [
        "response.created"
    ]
    assert stream_again(told(), ID, "m", 5).opening() == b""


@pytest.mark.parametrize("background", [False, True])
def test_a_stream_goes_on_behind_any_number(background: bool) -> None:  # noqa: FBT001
    events = (Chunk("Hel"), Chunk("lo"), *pieces(CALLS), Done("tool_calls", USAGE, 5))
    whole = documents(streamed(*events, background=background, tools=TOOLS))
    assert all(after["sequence_number"] == before["sequence_number"] + 1 for before, after in pairwise(whole))
    for after in range(len(whole)):
        stream = stream_again(told(background=background, tools=TOOLS), ID, "some-model", after)
        assert documents(all_of(stream, *events)) == whole[after + 1 :]


def test_whoever_read_further_than_the_events_that_are_left_is_told_the_end() -> None:
    """When its journal is gone, an answer comes as one piece."""
    (last,) = documents(all_of(stream_again(told(), ID, "some-model", 500), Chunk("Hello"), Done("stop", USAGE, 5)))
    assert (last["type"], last["sequence_number"]) == ("response.completed", 501)


THOUGHTS = (Thought("Hm. Aha.", "s1"), Thought("", "data", redacted=True, after_text=4))
THOUGHT = Done("stop", USAGE, 5, "Well", thoughts=THOUGHTS)
THOUGHT_PIECES: tuple[Event, ...] = (
    ThoughtPiece(0, "Hm. "),
    ThoughtPiece(0, "Aha."),
    ThoughtPiece(0, signature="s1"),
    Chunk("Well"),
    ThoughtPiece(1, signature="data", redacted=True),
    Done("stop", USAGE, 5),
)
SHOWN: dict[str, Any] = {"reasoning": {"summary": "auto"}}
ENCRYPTED: dict[str, Any] = {"include": ["reasoning.encrypted_content"]}
SUMMARY = [{"type": "summary_text", "text": "Hm. Aha."}]


@pytest.mark.parametrize(
    ("fields", "thoughts"),
    [
        (SHOWN, [("0", SUMMARY, None)]),
        (SHOWN | ENCRYPTED, [("0", SUMMARY, "s1"), ("2", [], "data")]),
    ],
)
@pytest.mark.parametrize("events", [THOUGHT_PIECES, (THOUGHT,)], ids=["in pieces", "whole"])
def test_thoughts_are_items_in_their_places_also_in_a_stream(
    fields: dict[str, Any], thoughts: list[tuple[str, list[Any], str | None]], events: tuple[Event, ...]
) -> None:
    answer = json.loads(form(**fields).answer(THOUGHT, ID, "some-model"))
    items = [item for item in answer["output"] if item["type"] == "reasoning"]
    assert [(i["id"].rpartition("_")[2], i["summary"], i["encrypted_content"]) for i in items] == thoughts
    assert answer["reasoning"]["summary"] == "auto"
    data = streamed(*events, **fields)
    assert documents(data)[-1]["response"] == answer
    assert plain(accumulated(data).to_dict()) == response(THOUGHT, **fields).to_dict()
    assert json.loads(response_json(told(**fields), ID, "some-model", "succeeded", THOUGHT, None)) == answer


def test_a_thought_comes_in_openais_own_events() -> None:
    events = documents(streamed(*THOUGHT_PIECES[:3], Done("stop", USAGE, 5), **SHOWN))
    assert [event["type"].removeprefix("response.") for event in events[2:8]] == [
        "output_item.added",
        "reasoning_summary_part.added",
        "reasoning_summary_text.delta",
        "reasoning_summary_text.delta",
        "reasoning_summary_text.done",
        "reasoning_summary_part.done",
    ]
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    assert [item["type"] for item in events[-1]["response"]["output"]] == ["reasoning", "message"]
    for event in events:
        _event.validate_python(event, strict=True)


def test_a_thought_that_shows_nothing_is_no_item_unless_it_can_be_given_back() -> None:
    hidden = msgspec.structs.replace(THOUGHT, thoughts=(Thought("", "s1"),))
    shown = {"hidden": form(**SHOWN), "given back": form(**ENCRYPTED)}
    kinds = {
        name: [item["type"] for item in json.loads(one.answer(hidden, ID, "m"))["output"]]
        for name, one in shown.items()
    }
    assert kinds == {"hidden": ["message"], "given back": ["reasoning", "message"]}


@pytest.mark.parametrize("after", [-1, 0, 3, 4, 6, 7, 8, 9, 25, 500])
def test_a_stream_that_is_told_anew_tells_whole_items_to_whoever_read_a_part(after: int) -> None:
    """When its journal is gone, an answer comes as one piece: of a stream of many pieces the numbers were others."""
    stream = stream_again(told(), ID, "some-model", after, anew=True)
    events = documents(all_of(stream, Chunk("Hello"), Done("stop", USAGE, 5)))
    numbers = [event["sequence_number"] for event in events]
    assert numbers == list(range(after + 1, after + 1 + len(events)))
    ends = [
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.completed",
    ]
    assert [event["type"] for event in events][-4:] == ends
    assert events[-2]["item"]["content"][0]["text"] == "Hello"
