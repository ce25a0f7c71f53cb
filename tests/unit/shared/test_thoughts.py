"""Thoughts keep their place among text and calls, and nobody is given a thought that another made."""

from __future__ import annotations

import msgspec
import pytest

from shared.answers import parts_of, whole
from shared.catalogue.models import Model, load_catalogue
from shared.chat import CallPiece, Message, Sampling, ToolCall
from shared.job import AnswerPart, Chunk, Done, bytes_of, pack, unpack_event, unpack_job
from shared.money import Usage
from shared.signatures import own_signature, own_thought, wrapped
from shared.thoughts import Thought, ThoughtPiece, in_order
from tests.harness.builders import a_job

CATALOGUE = load_catalogue()
CLAUDE = CATALOGUE.find("anthropic-claude-opus-5-5")
OTHER_CLAUDE = CATALOGUE.find("anthropic-claude-opus-5")
DEEPSEEK = CATALOGUE.find("deepseek-v4-pro")
OPENAI = msgspec.structs.replace(CATALOGUE.find("openai-gpt-6.1-sol"), api="openai-responses")
GEMINI = CATALOGUE.find("google-gemini-3.8-flash")
DONE = Done("stop", Usage(1, 1), 0)
FIRST = Thought("Hm.", "s1")
SECOND = Thought("", "s2", redacted=True, id="rs_2", after_text=4, after_calls=1)
CALLS = (ToolCall("a", "f", "{}", "sig"), ToolCall("b", "g", "[]"))
ANSWER = msgspec.structs.replace(DONE, text="Yes. No.", calls=CALLS, call_places=(4, 8), thoughts=(FIRST, SECOND))
SIGNED = "c2lnbg=="
PARTS: list[AnswerPart] = [
    ThoughtPiece(0, "H"),
    ThoughtPiece(0, "m."),
    ThoughtPiece(0, signature="s1"),
    Chunk("Ye"),
    Chunk("s."),
    CallPiece(0, "{", "a", "f", signature="sig"),
    CallPiece(0, "}"),
    ThoughtPiece(1, signature="s2", redacted=True, id="rs_2"),
    Chunk(" No."),
    CallPiece(1, "[]", "b", "g"),
]


def test_an_answer_is_made_of_its_parts_and_its_parts_of_it() -> None:
    assert whole(DONE, PARTS) == ANSWER
    assert whole(DONE, parts_of(ANSWER)) == ANSWER


def test_blocks_stand_in_the_order_in_which_the_model_made_them() -> None:
    assert list(in_order("Yes. No.", CALLS, (FIRST, SECOND))) == [FIRST, "Yes.", CALLS[0], SECOND, " No.", CALLS[1]]
    assert list(in_order("", (), (FIRST,))) == [FIRST]
    assert list(in_order("Yes.", CALLS, ())) == ["Yes.", *CALLS]


def test_a_place_beyond_the_answer_is_its_end() -> None:
    lost = Thought("x", after_text=99, after_calls=99)
    assert list(in_order("Yes.", CALLS, (lost, lost))) == ["Yes.", *CALLS, lost, lost]


@pytest.mark.parametrize("event", [*PARTS, ANSWER])
def test_thoughts_are_the_same_after_they_crossed_redis(event: AnswerPart | Done) -> None:
    assert unpack_event(pack(event)) == event


def test_what_the_previous_release_wrote_is_read_and_what_it_reads_is_where_it_was() -> None:
    old = ["d", "stop", {"input": 1, "output": 1}, 0, "Yes.", [{"id": "a", "name": "f", "arguments": "{}"}]]
    assert unpack_event(msgspec.msgpack.encode(old)) == msgspec.structs.replace(
        DONE, text="Yes.", calls=(ToolCall("a", "f", "{}"),)
    )
    assert msgspec.msgpack.decode(pack(ANSWER))[4] == "Yes. No."
    job = msgspec.msgpack.decode(pack(a_job()))
    assert not {"thoughts"} & set(job["messages"][0])
    assert not {"shows_thoughts", "signs_thoughts", "thinking_budget"} & set(job["sampling"])
    assert not unpack_job(msgspec.msgpack.encode(job)).sampling.hands_thoughts_on


def test_thoughts_count_as_what_was_written_and_as_what_is_asked() -> None:
    assert bytes_of(ThoughtPiece(0, "é", "sig")) == 5
    asked = Message("assistant", "", tool_calls=(ToolCall("a", "f", "{}", "sig"),), thoughts=(Thought("é", "1234"),))
    assert asked.bytes_in() - Message("assistant", "").bytes_in() == 1 + 1 + 2 + 3 + 2 + 4
    assert Sampling(signs_thoughts=True).hands_thoughts_on


@pytest.mark.parametrize("model", [CLAUDE, DEEPSEEK, GEMINI], ids=lambda model: model.name)
@pytest.mark.parametrize("shown", [True, False])
def test_a_thought_comes_back_to_its_model_as_the_vendor_made_it(model: object, *, shown: bool) -> None:
    own = CATALOGUE.find(model.name)  # type: ignore[attr-defined]
    text = "Hm." if own is not GEMINI else ""
    given = Thought(text if shown else "", wrapped(own, SIGNED, text, shown=shown), after_text=2)
    assert own_thought(own, given) == Thought(text, SIGNED, after_text=2)


def test_another_models_thought_or_half_of_one_is_nobodys() -> None:
    given = Thought("Hm.", wrapped(CLAUDE, "sig", "Hm."))
    assert own_thought(OTHER_CLAUDE, given) is None
    assert own_thought(DEEPSEEK, given) is None
    assert own_thought(CLAUDE, msgspec.structs.replace(given, text="Hm!")) is None
    assert own_thought(CLAUDE, msgspec.structs.replace(given, text="")) is None
    hidden = wrapped(CLAUDE, "sig", "Hm.", shown=False).split("~")
    signature = wrapped(CLAUDE, "sig", "Hm.")
    for broken in (signature[:-1], signature[:-3], signature.replace("~sig", "~gis"), wrapped(CLAUDE, None, "Hm.")):
        assert own_thought(CLAUDE, Thought("Hm.", broken)) is None, broken
    for broken in ("EqsBCkgIARABGAI=", "rm2~", "rm3~a~b~c~d~e", "~".join([*hidden[:4], "no base 64", "sig"])):
        assert own_thought(CLAUDE, Thought("Hm.", broken)) is None, broken


def test_encrypted_data_is_known_as_such_and_is_bytes() -> None:
    given = Thought(signature=wrapped(CLAUDE, "ZGF0YQ==", redacted=True))
    assert own_thought(CLAUDE, given) == Thought("", "ZGF0YQ==", redacted=True)
    assert own_thought(CLAUDE, Thought(signature=wrapped(CLAUDE, "ZGF0YQ", redacted=True))) is None
    assert own_signature(GEMINI, wrapped(GEMINI, "c2l")) is None


@pytest.mark.parametrize("model", [OPENAI, GEMINI], ids=lambda model: model.name)
def test_where_only_the_signature_goes_back_a_thought_without_one_is_nobodys(model: Model) -> None:
    cut_off = wrapped(model, "")
    assert own_thought(model, Thought(signature=cut_off)) is None
    assert own_signature(model, cut_off) is None


def test_a_text_that_nobody_signed_is_taken_by_the_vendor_that_signs_nothing() -> None:
    assert own_thought(DEEPSEEK, Thought("Hm.")) == Thought("Hm.")
    assert own_thought(CLAUDE, Thought("Hm.")) is None


def test_the_signature_of_a_call_belongs_to_its_model() -> None:
    given = wrapped(GEMINI, "c2ln")
    assert own_signature(GEMINI, given) == "c2ln"
    assert own_signature(CLAUDE, given) is None
    assert own_signature(GEMINI, "c2ln") is None


@pytest.mark.parametrize("name", ["openai-gpt-6.1-sol", "anthropic-claude-haiku-4-5", "openai-gpt-oss-120b"])
def test_a_thought_without_what_its_vendor_wants_back_is_nobodys(name: str) -> None:
    model = CATALOGUE.find(name)
    model = msgspec.structs.replace(model, api=model.second_api or model.api)
    assert own_thought(model, Thought("Hm.", wrapped(model, None, "Hm."))) is None
    assert own_thought(model, Thought("Hm.", wrapped(model, "sig", "Hm.")[:-3])) is None
