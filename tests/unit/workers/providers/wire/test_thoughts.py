"""Of what a vendor thinks its caller gets what it asked for; of what comes back each vendor gets its own."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

import msgspec

from shared.catalogue.models import load_catalogue
from shared.chat import CallPiece, JsonAnswer, Message, Sampling, ToolCall
from shared.signatures import own_thought, wrapped
from shared.thoughts import Thought, ThoughtPiece
from workers.providers.protocol import Finished, Joined, Piece, ProviderRequest, Reported, Thinking
from workers.providers.wire.fitting import Fitted

CATALOGUE = load_catalogue()
CLAUDE = CATALOGUE.find("anthropic-claude-opus-5-5")
DEEPSEEK = CATALOGUE.find("deepseek-v4-pro")
SAID: list[Piece] = [
    ThoughtPiece(0, "H"),
    ThoughtPiece(0, "m.", pieces=2),
    ThoughtPiece(0, signature="sig", pieces=0),
    ThoughtPiece(1, signature="data", redacted=True),
    "Yes.",
    CallPiece(0, "{}", "a", "f", signature="call"),
    Reported(None),
    Finished("tool_calls"),
]


def request(*messages: Message, model: str = CLAUDE.name, **sampling: Any) -> ProviderRequest:
    return ProviderRequest(
        id="req_1",
        model=CATALOGUE.find(model),
        messages=list(messages) or [Message("user", "Hello")],
        sampling=Sampling(**sampling),
        output_limit=100,
        stream=True,
    )


async def handed_on(asked: ProviderRequest, said: list[Piece] = SAID) -> list[Piece]:
    async def pieces() -> AsyncGenerator[Piece, None]:
        for piece in said:
            yield piece

    return [piece async for piece in Fitted(asked).undone(pieces())]


async def test_thoughts_are_shown_and_signed_for_who_asks_for_both() -> None:
    got = await handed_on(request(shows_thoughts=True, signs_thoughts=True))
    assert got[:3] == [*SAID[:2], ThoughtPiece(0, signature=wrapped(CLAUDE, "sig", "Hm."), pieces=0)]
    assert got[3:5] == [ThoughtPiece(1, signature=wrapped(CLAUDE, "data", redacted=True), redacted=True), "Yes."]
    assert got[5:] == [CallPiece(0, "{}", "a", "f", signature=wrapped(CLAUDE, "call")), *SAID[6:]]


async def test_without_signatures_the_text_is_shown() -> None:
    got = await handed_on(request(shows_thoughts=True))
    assert got == [*SAID[:2], Thinking(0), Thinking(1), "Yes.", CallPiece(0, "{}", "a", "f"), *SAID[6:]]


async def test_without_text_the_signature_has_all_that_the_vendor_wants_back() -> None:
    got = await handed_on(request(signs_thoughts=True))
    assert got[:2] == [Thinking(1), Thinking(2)]
    signed = got[2]
    assert isinstance(signed, ThoughtPiece)
    assert not signed.text
    assert own_thought(CLAUDE, Thought("", signed.signature)) == Thought("Hm.", "sig")


async def test_what_its_vendor_does_not_sign_is_known_again_all_the_same() -> None:
    asked = request(model=DEEPSEEK.name, shows_thoughts=True, signs_thoughts=True)
    for after in ("Yes.", Joined("Yes.", 1), CallPiece(0, "{}", "a", "f"), Finished("length"), ThoughtPiece(1, "No.")):
        got = await handed_on(asked, [ThoughtPiece(0, "Hm."), after])
        assert got[1] == ThoughtPiece(0, signature=wrapped(DEEPSEEK, None, "Hm."), pieces=0)
        assert got[2] == after


async def test_thoughts_before_a_call_that_is_made_text_cannot_be_given_back() -> None:
    answer = JsonAnswer(name="answer", schema={"type": "object", "properties": {"a": {"type": "string"}}})
    asked = request(model="anthropic-claude-opus-5", shows_thoughts=True, signs_thoughts=True, json_answer=answer)
    got = await handed_on(asked, [*SAID[:3], CallPiece(0, "{}", "a", "answer"), Finished("tool_calls")])
    assert got == [*SAID[:2], Thinking(0), Joined("{}", 1), Finished("stop")]


def test_each_vendor_gets_its_own_thoughts_as_it_made_them() -> None:
    ours, theirs = (
        Thought("Hm.", wrapped(CLAUDE, "sig", "Hm."), after_text=4),
        Thought("Ah.", wrapped(DEEPSEEK, None, "Ah.")),
    )
    calls = (ToolCall("a", "f", "{}", wrapped(CLAUDE, "call")), ToolCall("b", "f", "{}", "of nobody"))
    turn = Message("assistant", "Yes.", tool_calls=calls, thoughts=(ours, theirs))
    sent = Fitted(request(Message("user", "Hi"), turn)).request.messages[1]
    assert sent.thoughts == (Thought("Hm.", "sig", after_text=4),)
    assert [call.signature for call in sent.tool_calls] == ["call", None]
    assert msgspec.structs.replace(sent, thoughts=(), tool_calls=()) == Message("assistant", "Yes.")
    other = Fitted(request(Message("user", "Hi"), turn, model=DEEPSEEK.name)).request.messages[1]
    assert other.thoughts == (Thought("Ah."),)
