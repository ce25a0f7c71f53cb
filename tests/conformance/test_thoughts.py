"""What models think reaches who asks for it, and comes back to them in a loop of tools as they made it."""

from __future__ import annotations

import msgspec
import pytest

from shared.catalogue.thinking import thinks
from shared.chat import Message, ReasoningEffort, Sampling, Tool, Tools
from shared.thoughts import Thought, ThoughtPiece
from tests.conformance.cases import CATALOGUE, Answer, Case, Vendors, new_key, promise

CLOCK = Tools(offered=(Tool(name="clock", parameters={"type": "object", "properties": {"zone": {"type": "string"}}}),))
THINKING: dict[str, ReasoningEffort | None] = {
    "openai-gpt-5.5": "high",
    "openai-gpt-6-astra": None,
    "openai-gpt-oss-120b": "low",
    "openai-gpt-6-luna-bedrock": "high",
    "openai-gpt-6-astra-bedrock": None,
    "anthropic-claude-opus-5-5": None,
    "anthropic-claude-sonnet-5-5": "high",
    "anthropic-claude-opus-5": "max",
    "anthropic-claude-opus-4-6": "medium",
    "anthropic-claude-haiku-4-5": "low",
    "amazon-nova-2-lite": "medium",
    "moonshot-kimi-k3.1": None,
    "deepseek-flash": "high",
    "deepseek-v4-pro": "max",
    "deepseek-reasoner": None,
    "google-gemini-3.8-flash": None,
    "google-gemini-4-neon": "xhigh",
    "google-gemini-2.5-flash-lite": "low",
}
CASES = [
    Case(name, CATALOGUE.find(name), stream).serving(Sampling(reasoning_effort=effort, shows_thoughts=True), CLOCK)
    for name, effort in THINKING.items()
    for stream in (False, True)
]


def _named(case: Case) -> str:
    return f"{case.name}-{'stream' if case.stream else 'json'}"


each = pytest.mark.parametrize("case", CASES, ids=_named)
each_with_tools = pytest.mark.parametrize(
    "case", [case for case in CASES if not case.stream or case.model.streams_with(CLOCK)], ids=_named
)
"""Models that do not stream with tools are called as a whole there, which is another case."""
BRIEF = (Message("system", "Be brief."),)
LOOP = "tokens=2 preface=2 reasoning=3"
HIDDEN = ("openai.gpt-6",)
"""Models that show nothing but encrypted data."""


def asked(case: Case, *, shows: bool = True, signs: bool = True) -> Sampling:
    return Sampling(reasoning_effort=THINKING[case.name], shows_thoughts=shows, signs_thoughts=signs)


def pieces_of(got: Answer) -> list[ThoughtPiece]:
    return [part for part in got.parts if isinstance(part, ThoughtPiece)]


def limit_of(case: Case) -> int:
    """With room for thoughts that are counted."""
    return min(case.model.max_output_tokens, 8_192)


def thought_text(got: Answer) -> str:
    return "".join(piece.text for piece in pieces_of(got))


def shows_text(case: Case) -> bool:
    return not any(part in case.model.vendor_model for part in HIDDEN)


@promise("what a model thinks reaches who asks for it, before the answer, and nobody else")
@each
async def test_thoughts_are_shown_to_who_asks_for_them(vendors: Vendors, case: Case) -> None:
    limit = {"output_limit": limit_of(case)}
    shown = await vendors.ask(case, "tokens=4 reasoning=3", sampling=asked(case, signs=False), **limit)  # type: ignore[arg-type]
    assert (shown.error, shown.finished) == (None, ["stop"])
    assert shown.call.thinks
    assert bool(thought_text(shown)) == shows_text(case)
    assert not any(piece.signature for piece in pieces_of(shown))
    hidden = await vendors.ask(case, "tokens=4 reasoning=3", sampling=asked(case, shows=False, signs=False), **limit)  # type: ignore[arg-type]
    assert (hidden.error, pieces_of(hidden)) == (None, [])
    for got in (shown, hidden):
        told = got.reported[-1]
        assert told
        assert told.output == got.call.output_tokens


@promise("a loop of tools goes on with what the model thought, whether it was shown or not")
@each_with_tools
@pytest.mark.parametrize("shows", [True, False])
async def test_a_loop_of_tools_goes_on(vendors: Vendors, case: Case, *, shows: bool) -> None:
    sampling, key, talk = asked(case, shows=shows), new_key(), tuple[Message, ...]()
    again = Message("user", f"Again. [[sim {LOOP} key={key}]]")
    for reason in ("tool_calls", "stop", "tool_calls", "stop"):
        got = await vendors.ask(
            case,
            LOOP,
            messages=BRIEF,
            after=talk,
            sampling=sampling,
            tools=CLOCK,
            output_limit=limit_of(case),
            key=key,
        )
        assert (got.error, got.finished) == (None, [reason]), len(talk)
        assert got.call.thinks
        assert bool(thought_text(got)) == (shows and shows_text(case))
        results = [Message("tool", "ten", tool_call_id=call.id) for call in got.tool_calls]
        talk = (*talk, got.message, *(results or [again]))


@promise("what is not the model's own thought is left out of what it is asked")
@each
async def test_other_models_thoughts_are_left_out(vendors: Vendors, case: Case) -> None:
    others = [one for one in CASES if one.stream == case.stream and one.model.api != case.model.api][::3]
    for other in others:
        theirs = await vendors.ask(
            other, "calls=1 reasoning=3", sampling=asked(other), tools=CLOCK, output_limit=limit_of(other)
        )
        (call,) = theirs.tool_calls
        after = (theirs.message, Message("tool", "ten", tool_call_id=call.id))
        got = await vendors.ask(case, after=after, sampling=asked(case), tools=CLOCK, output_limit=limit_of(case))
        assert got.error is None, other.name


@promise("half a thought is left out of what a model is asked")
@each
async def test_changed_thoughts_are_left_out(vendors: Vendors, case: Case) -> None:
    first = await vendors.ask(
        case, "calls=1 reasoning=3", sampling=asked(case), tools=CLOCK, output_limit=limit_of(case)
    )
    (call,) = first.tool_calls
    changed = tuple(msgspec.structs.replace(thought, text=f"{thought.text}!") for thought in first.message.thoughts)
    for thoughts in (changed, (), (Thought("Hm.", "EqsBCkgIARABGAI="),)):
        said = msgspec.structs.replace(first.message, thoughts=thoughts)
        after = (said, Message("tool", "ten", tool_call_id=call.id))
        got = await vendors.ask(case, after=after, sampling=asked(case), tools=CLOCK, output_limit=limit_of(case))
        assert got.error is None
        assert got.call.thinks or case.name == "anthropic-claude-haiku-4-5"


def test_every_model_here_thinks() -> None:
    assert all(thinks(case.model, THINKING[case.name]) for case in CASES)
