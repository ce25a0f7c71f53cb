"""How completions and their chunks look, read again with the official client's own types."""

from __future__ import annotations

import json
from typing import Any

import pytest
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from api.formats.openai.chat import parse_completion
from shared.chat import CallPiece, ToolCall
from shared.errors import ProviderError
from shared.ids import new_id
from shared.job import Chunk, Done, Event, Failed
from shared.json_lines import LINE_ENDS
from shared.money import Usage
from shared.thoughts import Thought, ThoughtPiece
from tests.harness.rendering import rendered

ID = new_id("req", now_ms=1_700_000_000_999)
USAGE = Usage(10, 7, cached=4, reasoning=2, written=5)
CALLS = (ToolCall("call_1", "clock", '{"zone":"UTC"}'), ToolCall("call_2", "bell", "{}"))


def form(**fields: Any) -> Any:
    body = {"model": "some-model", "messages": [{"role": "user", "content": "hi"}], **fields}
    return parse_completion(json.dumps(body).encode()).form


def completion(done: Done) -> ChatCompletion:
    return ChatCompletion.model_validate_json(form().answer(done, ID, "some-model"), strict=True)


def streamed(*events: Event, **fields: Any) -> bytes:
    stream = form(stream=True, **fields).stream("", ID, "some-model")
    assert stream.content_type == "text/event-stream"
    return b"".join(rendered(stream, number, event) for number, event in enumerate(events))


def chunks(data: bytes) -> list[ChatCompletionChunk]:
    *blocks, done, rest = data.split(b"\n\n")
    assert (done, rest) == (b"data: [DONE]", b"")
    return [ChatCompletionChunk.model_validate_json(block.removeprefix(b"data: "), strict=True) for block in blocks]


def test_a_completion_has_the_fields_of_openais() -> None:
    assert json.loads(form().answer(Done("stop", USAGE, 5, text="Hello"), ID, "some-model")) == {
        "id": ID,
        "object": "chat.completion",
        "created": 1_700_000_000,
        "model": "some-model",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "Hello", "refusal": None},
                "logprobs": None,
                "finish_reason": "stop",
            }
        ],
        "usage": {
            "prompt_tokens": 10,
            "completion_tokens": 7,
            "total_tokens": 17,
            "prompt_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 5},
            "completion_tokens_details": {"reasoning_tokens": 2},
        },
        "system_fingerprint": None,
    }


@pytest.mark.parametrize(
    ("reason", "said"),
    [("stop", "stop"), ("length", "length"), ("tool_calls", "tool_calls"), ("content_filter",) * 2, ("eos", "stop")],
)
def test_a_finish_reason_is_one_that_clients_know(reason: str, said: str) -> None:
    assert completion(Done(reason, USAGE, 5, text="x")).choices[0].finish_reason == said
    assert chunks(streamed(Done(reason, USAGE, 5)))[-1].choices[0].finish_reason == said


def test_content_is_null_only_beside_tool_calls() -> None:
    message = completion(Done("tool_calls", USAGE, 5, text="", calls=CALLS)).choices[0].message
    assert message.content is None
    assert message.tool_calls is not None
    assert [call.model_dump() for call in message.tool_calls] == [
        {"id": "call_1", "type": "function", "function": {"name": "clock", "arguments": '{"zone":"UTC"}'}},
        {"id": "call_2", "type": "function", "function": {"name": "bell", "arguments": "{}"}},
    ]
    assert completion(Done("tool_calls", USAGE, 5, text="Well", calls=CALLS)).choices[0].message.content == "Well"
    assert completion(Done("stop", USAGE, 5, text="")).choices[0].message.content == ""


def test_a_stream_opens_with_the_role_and_ends_with_the_reason() -> None:
    first, *middle, last = chunks(streamed(Chunk("Hel"), Chunk("lo"), Done("stop", USAGE, 5)))
    assert (first.choices[0].delta.role, first.choices[0].delta.content) == ("assistant", "")
    assert [chunk.choices[0].delta.content for chunk in middle] == ["Hel", "lo"]
    assert all(chunk.choices[0].finish_reason is None for chunk in (first, *middle))
    assert last.choices[0].finish_reason == "stop"
    assert {(chunk.id, chunk.created, chunk.model) for chunk in (first, *middle, last)} == {
        (ID, 1_700_000_000, "some-model")
    }


def test_usage_comes_in_a_chunk_of_its_own_when_asked_for() -> None:
    data = streamed(Chunk("x"), Done("stop", USAGE, 5), stream_options={"include_usage": True})
    *others, last = chunks(data)
    assert last.choices == []
    assert last.usage is not None
    assert (last.usage.prompt_tokens, last.usage.completion_tokens, last.usage.total_tokens) == (10, 7, 17)
    assert data.count(b'"usage":null') == len(others)


def test_without_asking_there_is_no_usage() -> None:
    assert b"usage" not in streamed(Chunk("x"), Done("stop", USAGE, 5))


def test_tool_calls_come_in_pieces() -> None:
    pieces = [
        CallPiece(0, "", "call_1", "clock"),
        CallPiece(0, '{"zone":'),
        CallPiece(0, '"UTC"}'),
        CallPiece(1, "{}", "call_2", "bell"),
    ]
    first, *middle, last = chunks(streamed(*pieces, Done("tool_calls", USAGE, 5)))
    assert (first.choices[0].delta.role, first.choices[0].delta.content) == ("assistant", None)
    deltas = [chunk.choices[0].delta.tool_calls or [] for chunk in middle]
    assert [call.model_dump(exclude_unset=True) for (call,) in deltas] == [
        {"index": 0, "id": "call_1", "type": "function", "function": {"name": "clock", "arguments": ""}},
        {"index": 0, "function": {"arguments": '{"zone":'}},
        {"index": 0, "function": {"arguments": '"UTC"}'}},
        {"index": 1, "id": "call_2", "type": "function", "function": {"name": "bell", "arguments": "{}"}},
    ]
    assert last.choices[0].finish_reason == "tool_calls"


def test_an_answer_that_was_not_streamed_comes_whole() -> None:
    _, text, one, two, _ = chunks(streamed(Done("tool_calls", USAGE, 5, text="Well", calls=CALLS)))
    assert text.choices[0].delta.content == "Well"
    assert [(chunk.choices[0].delta.tool_calls or [])[0].id for chunk in (one, two)] == ["call_1", "call_2"]


def test_a_failure_on_the_way_is_an_error_event_and_no_done() -> None:
    failed = Failed(ProviderError("It broke off: try again.").body(), charged_nano=1_500)
    data = streamed(Chunk("x"), failed)
    assert b"[DONE]" not in data
    error = json.loads(data.split(b"\n\n")[-2].removeprefix(b"data: "))["error"]
    assert error == {
        "message": "It broke off: try again.",
        "type": "server_error",
        "param": None,
        "code": "provider_error",
        "charged_usd": "0.0000015",
        "request_id": ID,
    }
    assert form().stream("", ID, "some-model").clean_end(failed)


@pytest.mark.parametrize("line_end", list(LINE_ENDS))
def test_what_python_takes_for_a_line_end_is_escaped(line_end: str) -> None:
    data = streamed(Chunk(f"a{line_end}b"), Done("stop", USAGE, 5))
    assert line_end not in data.decode()
    assert chunks(data)[1].choices[0].delta.content == f"a{line_end}b"


THOUGHTS = (Thought("Hm. Aha.", "s1"), Thought("", "data", redacted=True, after_text=4, after_calls=1))
SIGNED = (ToolCall("call_1", "clock", "{}", "sig"),)
DETAILS = [
    {"type": "reasoning.text", "index": 0, "text": "Hm. Aha.", "signature": "s1"},
    {"type": "reasoning.encrypted", "index": 1, "data": "data", "after_text": 4, "after_calls": 1},
]


def test_thoughts_stand_beside_the_answer() -> None:
    done = Done("tool_calls", USAGE, 5, "Well", SIGNED, thoughts=THOUGHTS)
    message: Any = completion(done).choices[0].message.to_dict()
    assert (message["reasoning_content"], message["reasoning_details"]) == ("Hm. Aha.", DETAILS)
    (call,) = message["tool_calls"]
    assert call["extra_content"] == {"google": {"thought_signature": "sig"}}


def test_thoughts_that_nobody_signs_are_text() -> None:
    message = completion(Done("stop", USAGE, 5, "Well", thoughts=(Thought("Hm."),))).choices[0].message.to_dict()
    assert message == {"role": "assistant", "content": "Well", "refusal": None, "reasoning_content": "Hm."}


def test_thoughts_come_in_pieces_and_once_more_as_they_are_to_be_sent_back() -> None:
    pieces: list[Event] = [
        ThoughtPiece(0, "Hm. "),
        ThoughtPiece(0, "Aha.", "s1"),
        ThoughtPiece(1, signature="data", redacted=True),
        CallPiece(0, "{}", "call_1", "clock", signature="sig"),
    ]
    first, *middle, _ = chunks(streamed(*pieces, Done("tool_calls", USAGE, 5)))
    assert (first.choices[0].delta.role, first.choices[0].delta.content) == ("assistant", None)
    deltas: list[Any] = [chunk.choices[0].delta.to_dict() for chunk in middle]
    assert [delta.get("reasoning_content") for delta in deltas] == ["Hm. ", "Aha.", None, None]
    assert [delta.get("reasoning_details") for delta in deltas[:3]] == [
        [{"type": "reasoning.text", "index": 0, "text": "Hm. "}],
        [{"type": "reasoning.text", "index": 0, "text": "Aha.", "signature": "s1"}],
        [{"type": "reasoning.encrypted", "index": 1, "data": "data"}],
    ]
    assert deltas[3]["tool_calls"][0]["extra_content"] == {"google": {"thought_signature": "sig"}}


def test_thoughts_of_an_answer_that_was_not_streamed_come_whole() -> None:
    _, thought, text, _ = chunks(streamed(Done("stop", USAGE, 5, "Well", thoughts=THOUGHTS[:1])))
    assert thought.choices[0].delta.to_dict() == {"reasoning_content": "Hm. Aha.", "reasoning_details": DETAILS[:1]}
    assert text.choices[0].delta.content == "Well"
