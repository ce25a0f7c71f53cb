"""Answers of OpenAI's Responses API in the forms that the simulator does not have."""

from __future__ import annotations

import json
from typing import Any

import pytest

from shared.catalogue.models import load_catalogue
from shared.chat import CallPiece, Message, Sampling
from shared.errors import (
    ContextLengthExceeded,
    InvalidRequest,
    OperatorCredentials,
    ProviderBusy,
    ProviderError,
    RebootError,
)
from shared.money import Usage
from shared.thoughts import ThoughtPiece
from workers.providers.openai.responses import _Answer
from workers.providers.protocol import Finished, Joined, Piece, ProviderRequest, Reported, Thinking
from workers.providers.wire.vendor_errors import Throttled

MODEL = load_catalogue().find("openai-gpt-6-astra")
ENDED: dict[str, Any] = {"type": "response.completed", "response": {"status": "completed"}}


def answer(*, handed_on: bool = True) -> _Answer:
    return _Answer(
        ProviderRequest(
            id="req_1",
            model=MODEL,
            messages=[Message("user", "Hi")],
            sampling=Sampling(shows_thoughts=handed_on, signs_thoughts=handed_on),
            output_limit=100,
            stream=True,
        )
    )


def heard(*events: dict[str, Any], handed_on: bool = True) -> list[Piece]:
    """The pieces of a stream."""
    read = answer(handed_on=handed_on)
    pieces = [
        piece for event in events for piece in read.feed(b"event: x\ndata: " + json.dumps(event).encode() + b"\n\n")
    ]
    return [*pieces, *read.rest(), *read.end()]


def text(delta: str, place: int = 0) -> dict[str, Any]:
    return {"type": "response.output_text.delta", "output_index": place, "delta": delta}


def item(kind: str, place: int, **fields: Any) -> dict[str, Any]:
    return {"type": f"response.output_item.{kind}", "output_index": place, "item": fields}


def test_messages_of_one_answer_are_paragraphs() -> None:
    pieces = heard(text("I look."), text(" Now."), text("It is", 2), text(" ten.", 2), ENDED)
    assert "".join(piece for piece in pieces if isinstance(piece, str)) == "I look. Now.\n\nIt is ten."
    assert pieces[-2:] == [Reported(None), Finished("stop")]


def test_a_refusal_is_text() -> None:
    assert heard({"type": "response.refusal.delta", "delta": "No."}, ENDED)[0] == "No."


def test_a_summary_has_paragraphs_and_its_thought_is_signed_at_its_end() -> None:
    def summary(part: int, delta: str, place: int = 0) -> dict[str, Any]:
        fields = {"output_index": place, "summary_index": part, "delta": delta}
        return {"type": "response.reasoning_summary_text.delta", **fields}

    events = [
        item("added", 0, type="reasoning", id="rs_1", summary=[], encrypted_content="half"),
        summary(0, "I"),
        summary(0, " think."),
        summary(1, "More."),
        item("done", 0, type="reasoning", id="rs_1", summary=[], encrypted_content="whole"),
        item("done", 1, type="reasoning", id="rs_2", summary=[], encrypted_content="other"),
        text("Yes.", 2),
        ENDED,
    ]
    assert heard(*events)[:5] == [
        ThoughtPiece(0, "I"),
        ThoughtPiece(0, " think."),
        ThoughtPiece(0, "\n\nMore."),
        ThoughtPiece(0, "", "whole", id="rs_1", pieces=0),
        ThoughtPiece(1, "", "other", id="rs_2", pieces=0),
    ]
    assert heard(*events, handed_on=False)[:5] == [Thinking(), Thinking(), Thinking(), Thinking(0), Thinking(0)]


def test_calls_may_come_mixed() -> None:
    def arguments(place: int, delta: str) -> dict[str, Any]:
        return {"type": "response.function_call_arguments.delta", "output_index": place, "delta": delta}

    pieces = heard(
        item("added", 1, type="function_call", id="fc_1", call_id="call_1", name="clock", arguments=""),
        item("added", 2, type="function_call", id="fc_2", call_id="call_2", name="bell", arguments=""),
        arguments(2, "{"),
        arguments(1, "{}"),
        arguments(2, "}"),
        item("done", 1, type="function_call", call_id="call_1", name="clock", arguments="{}"),
        ENDED,
    )
    calls = [piece for piece in pieces if isinstance(piece, CallPiece)]
    assert [(piece.index, piece.id, piece.arguments) for piece in calls] == [
        (0, "call_1", ""),
        (1, "call_2", ""),
        (1, None, "{"),
        (0, None, "{}"),
        (1, None, "}"),
    ]
    assert pieces[-1] == Finished("tool_calls")


def test_a_whole_answer_has_the_same_pieces() -> None:
    body = {
        "status": "completed",
        "output": [
            {
                "type": "reasoning",
                "id": "rs_1",
                "summary": [{"type": "summary_text", "text": "A."}, {"type": "summary_text", "text": "B."}],
                "encrypted_content": "whole",
            },
            {"type": "message", "content": [{"type": "output_text", "text": "Yes."}]},
            {"type": "function_call", "call_id": "call_1", "name": "clock", "arguments": "{}"},
            {"type": "web_search_call", "status": "completed"},
        ],
        "usage": {"input_tokens": 7, "output_tokens": 5},
    }
    read = answer()
    assert [*read.whole(json.dumps(body).encode()), *read.end()] == [
        ThoughtPiece(0, "A."),
        ThoughtPiece(0, "\n\nB."),
        ThoughtPiece(0, "", "whole", id="rs_1", pieces=0),
        "Yes.",
        CallPiece(0, "{}", "call_1", "clock"),
        Reported(Usage(7, 5)),
        Finished("tool_calls"),
    ]


def test_tokens_are_told_with_what_was_cached_written_and_thought() -> None:
    details = {"cached_tokens": 2, "cache_write_tokens": 5, "cache_write_tokens_details": {"ttl_12h_tokens": 4}}
    usage = {
        "input_tokens": 10,
        "input_tokens_details": details,
        "output_tokens": 6,
        "output_tokens_details": {"reasoning_tokens": 3},
    }
    ended = {"type": "response.completed", "response": {"status": "completed", "usage": usage}}
    assert Reported(Usage(10, 6, cached=2, reasoning=3, written=5, written_long=4)) in heard(ended)


@pytest.mark.parametrize(
    ("reason", "finished"),
    [("max_output_tokens", "length"), ("content_filter", "content_filter"), ("steered", None), (None, None)],
)
def test_an_answer_that_ended_early_says_why(reason: str | None, finished: str | None) -> None:
    why = {"reason": reason} if reason else None
    ended = {"type": "response.incomplete", "response": {"status": "incomplete", "incomplete_details": why}}
    if finished:
        assert heard(text("So"), ended)[-1] == Finished(finished)
    else:
        with pytest.raises(ProviderError):
            heard(text("So"), ended)


@pytest.mark.parametrize(
    ("code", "message", "kind"),
    [
        ("rate_limit_exceeded", "Rate limit reached.", Throttled),
        ("server_is_overloaded", "Overloaded.", ProviderBusy),
        ("server_error", "Sorry.", ProviderError),
        (None, "Sorry.", ProviderError),
        ("context_length_exceeded", "Your input exceeds the context window of this model.", ContextLengthExceeded),
        ("invalid_prompt", "Flagged.", InvalidRequest),
        ("bio_policy", "Flagged.", InvalidRequest),
        ("image_parse_error", "Broken.", InvalidRequest),
        ("data_residency_mismatch", "Elsewhere.", OperatorCredentials),
    ],
)
def test_a_failure_is_its_error_in_each_of_its_forms(code: str | None, message: str, kind: type[RebootError]) -> None:
    error = {"code": code, "message": message}
    usage = {"input_tokens": 3, "output_tokens": 1}
    failed = {"type": "response.failed", "response": {"status": "failed", "error": error, "usage": usage}}
    for event in (failed, {"type": "error", **error}, {"type": "error", "error": error}):
        read = answer()
        taken: list[Piece] = []
        with pytest.raises(kind) as raised:
            taken.extend(read.feed(b"data: " + json.dumps(event).encode() + b"\n\n"))
        assert type(raised.value) is kind
        assert message not in raised.value.message


def test_what_was_used_before_a_failure_is_told_first() -> None:
    response = {"status": "failed", "error": {"code": "server_error"}, "usage": {"input_tokens": 3, "output_tokens": 1}}
    read = answer()
    pieces = read.feed(b"data: " + json.dumps({"type": "response.failed", "response": response}).encode() + b"\n\n")
    assert next(iter(pieces)) == Reported(Usage(3, 1))


@pytest.mark.parametrize("status", ["in_progress", "queued", None])
def test_an_answer_without_its_end_is_none(status: str | None) -> None:
    read = answer()
    list(read.whole(json.dumps({"status": status, "output": []}).encode()))
    with pytest.raises(ProviderError):
        list(read.end())


def test_keep_alives_and_unknown_events_say_nothing_and_nothing_is_read_behind_the_end() -> None:
    unknown = [{"type": "keepalive"}, {"type": "response.queued"}, {"type": "response.new_thing", "delta": "x"}]
    assert heard(*unknown, text("a"), text("b"), ENDED, text("c")) == ["a", "b", Reported(None), Finished("stop")]


def test_texts_that_come_together_are_one() -> None:
    read = answer()
    both = b"".join(b"data: " + json.dumps(text(delta)).encode() + b"\n\n" for delta in ("a", "b"))
    assert list(read.feed(both)) == [Joined("ab", 2)]
