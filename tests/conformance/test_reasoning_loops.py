"""Thoughts that an API hands out encrypted come back to it in a loop of tools, unchanged and in their place."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from shared.answers import whole
from shared.chat import CallPiece, Message, Sampling, Tool, ToolChoice, Tools
from shared.job import AnswerPart, Chunk, Done
from shared.money import Usage
from shared.thoughts import Thought, ThoughtPiece
from tests.conformance.cases import Case, Vendors, of, promise, request
from workers.providers.protocol import Joined

ZONE = {"type": "object", "properties": {"zone": {"type": "string"}}}
CLOCK = Tools(offered=(Tool(name="clock", parameters=ZONE),), choice=ToolChoice("required"))
BOTH, SIGNED, NOTHING = (
    Sampling(shows_thoughts=True, signs_thoughts=True),
    Sampling(signs_thoughts=True),
    Sampling(),
)


async def turn_of(vendors: Vendors, case: Case, sampling: Sampling, *after: Message, calls: int = 1) -> Message:
    """The answer as the next request has it in its history."""
    directive = f"calls={calls} reasoning=3 preface=2"
    asked = request(case, directive, sampling=sampling, tools=CLOCK, after=after)
    parts: list[AnswerPart] = []
    async for piece in vendors.pieces(asked):
        match piece:
            case str():
                parts.append(Chunk(piece))
            case Joined(text, count):
                parts.append(Chunk(text, count))
            case CallPiece() | ThoughtPiece():
                parts.append(piece)
    done = whole(Done("stop", Usage(0, 0), 0), parts)
    return Message("assistant", done.text or "", tool_calls=done.calls, thoughts=done.thoughts)


def answered(turn: Message) -> list[Message]:
    return [turn, *(Message("tool", "ten", tool_call_id=call.id) for call in turn.tool_calls)]


@promise("a loop of tools goes on with what the model thought, encrypted, whether it was shown or not")
@of("openai-responses")
async def test_a_loop_goes_on(vendors: Vendors, case: Case) -> None:
    for sampling in (BOTH, SIGNED):
        talk: list[Message] = []
        for calls in (1, 2, 1):
            turn = await turn_of(vendors, case, sampling, *talk, calls=calls)
            (thought,) = turn.thoughts
            assert bool(thought.text) is sampling.shows_thoughts
            assert thought.signature
            assert len(turn.tool_calls) == calls
            talk += answered(turn)


@promise("thoughts come only to who asks for them")
@of("openai-responses")
async def test_nobody_else_gets_thoughts(vendors: Vendors, case: Case) -> None:
    assert (await turn_of(vendors, case, NOTHING)).thoughts == ()
    (shown,) = (await turn_of(vendors, case, Sampling(shows_thoughts=True))).thoughts
    assert shown.text
    assert shown.signature is None


@promise("thoughts of others, and those that were changed, are left out of what a model is asked")
@of("openai-responses")
async def test_other_thoughts_are_left_out(vendors: Vendors, case: Case) -> None:
    turn = await turn_of(vendors, case, BOTH)
    other = msgspec.structs.replace(case, model=msgspec.structs.replace(case.model, upstream="gpt-6.1-sol"))
    changed: Sequence[tuple[Thought, ...]] = ((), (Thought("Hm.", "EqsBCkgIARABGAI="),), (Thought("Hm."),))
    for thoughts in changed:
        said = msgspec.structs.replace(turn, thoughts=thoughts)
        assert (await turn_of(vendors, case, BOTH, *answered(said))).tool_calls
    assert (await turn_of(vendors, other, BOTH, *answered(turn))).tool_calls
