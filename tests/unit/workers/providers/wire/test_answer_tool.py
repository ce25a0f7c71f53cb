from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

import pytest

from shared.catalogue.models import load_catalogue
from shared.chat import NO_TOOLS, CallPiece, JsonAnswer, Message, Sampling, Tool, ToolChoice, Tools
from shared.errors import ProviderError
from workers.providers.protocol import Finished, Joined, Piece, ProviderRequest, Reported, Thinking
from workers.providers.wire.answer_tool import HELD_MAX
from workers.providers.wire.fitting import Fitted

CATALOGUE = load_catalogue()
TOWN: dict[str, Any] = {"type": "object", "properties": {"name": {"type": "string"}}}
ANSWER = JsonAnswer(name="town", schema=TOWN, strict=True)
OWN = (Tool(name="clock"), Tool(name="weather"))


def request(
    model: str = "anthropic-claude-3-haiku", tools: Tools = NO_TOOLS, answer: JsonAnswer = ANSWER
) -> ProviderRequest:
    return ProviderRequest(
        id="req_1",
        model=CATALOGUE.find(model),
        messages=[Message("user", "Hello")],
        sampling=Sampling(temperature=0.5, json_answer=answer),
        output_limit=100,
        stream=True,
        tools=tools,
    )


def chosen(mode: str, name: str | None = None) -> Tools:
    return Tools(offered=OWN, choice=ToolChoice(mode, name))  # type: ignore[arg-type]


async def answered(pieces: list[Piece], asked: ProviderRequest | None = None) -> list[Piece]:
    """What the caller gets when the vendor says these pieces."""

    async def said() -> AsyncGenerator[Piece, None]:
        for piece in pieces:
            yield piece

    return [piece async for piece in Fitted(asked or request()).undone(said())]


def text_of(pieces: list[Piece]) -> str:
    return "".join(p if isinstance(p, str) else p.text for p in pieces if isinstance(p, str | Joined))


def calls_of(pieces: list[Piece]) -> list[CallPiece]:
    return [piece for piece in pieces if isinstance(piece, CallPiece)]


# what is asked


def test_the_only_tool_is_the_answers_and_it_must_be_called() -> None:
    asked = Fitted(request()).request
    assert asked.sampling == Sampling(temperature=0.5)
    assert [(tool.name, tool.parameters, tool.strict) for tool in asked.tools.offered] == [("town", TOWN, True)]
    assert (asked.tools.choice, asked.tools.parallel) == (ToolChoice("named", "town"), False)
    assert asked.stream


def test_who_knows_no_names_must_call_the_only_one_and_who_cannot_stream_so_does_not() -> None:
    asked = Fitted(request("mistral-mistral-large")).request
    assert asked.tools.choice == ToolChoice("required")
    assert not asked.stream


@pytest.mark.parametrize("tools", [Tools(offered=OWN), chosen("auto")])
def test_beside_the_callers_tools_one_of_all_must_be_called(tools: Tools) -> None:
    asked = Fitted(request(tools=tools)).request
    assert [tool.name for tool in asked.tools.offered] == ["clock", "weather", "town"]
    assert (asked.tools.choice, asked.tools.parallel) == (ToolChoice("required"), None)


def test_tools_that_must_not_be_called_are_not_offered() -> None:
    asked = Fitted(request(tools=chosen("none"))).request
    assert [tool.name for tool in asked.tools.offered] == ["town"]
    assert asked.tools.choice == ToolChoice("named", "town")


@pytest.mark.parametrize("tools", [chosen("required"), chosen("named", "clock")])
async def test_who_must_call_a_tool_of_the_callers_gives_no_answer(tools: Tools) -> None:
    fitted = Fitted(request(tools=tools))
    assert fitted.request.tools == tools
    assert fitted.request.sampling.json_answer is None
    piece = CallPiece(0, "{}", "a", "clock")
    assert await answered([piece, Finished("tool_calls")], request(tools=tools)) == [piece, Finished("tool_calls")]


def test_a_name_that_the_caller_has_for_a_tool_is_not_the_answers() -> None:
    tools = Tools(offered=(Tool(name="town"), Tool(name="town_answer")))
    asked = Fitted(request(tools=tools)).request
    assert [tool.name for tool in asked.tools.offered] == ["town", "town_answer", "town_answer_answer"]


async def test_a_name_that_the_vendor_refuses_is_known_again() -> None:
    asked = request(answer=JsonAnswer(name="my.town", schema=TOWN))
    name = Fitted(asked).request.tools.offered[0].name
    assert name != "my.town"
    got = await answered([CallPiece(0, '{"name": 1}', "a", name), Finished("tool_calls")], asked)
    assert got == [Joined('{"name": 1}', 1), Finished("stop")]


@pytest.mark.parametrize("model", ["openai-gpt-4o", "google-gemini-2.0-flash", "meta-llama3-1-70b"])
def test_who_has_a_mode_of_its_own_or_cannot_be_made_to_call_is_asked_as_before(model: str) -> None:
    assert Fitted(request(model)).request == request(model)


# what is answered


async def test_the_arguments_become_text_as_they_come() -> None:
    got = await answered(
        [
            CallPiece(0, "", "a", "town"),
            CallPiece(0, '{"name": ', pieces=2),
            CallPiece(0, '"Oslo"}'),
            Reported(None),
            Finished("tool_calls"),
        ]
    )
    assert got == [
        Thinking(1),
        Joined('{"name": ', 2),
        Joined('"Oslo"}', 1),
        Reported(None),
        Finished("stop"),
    ]


async def test_an_answer_that_is_no_object_is_unwrapped() -> None:
    asked = request(answer=JsonAnswer(name="towns", schema={"type": "array", "items": TOWN}))
    got = await answered(
        [
            CallPiece(0, '{"whole_', "a", "towns"),
            CallPiece(0, 'answer": [{"name"'),
            CallPiece(0, ": 1}]}"),
            Finished("stop"),
        ],
        asked,
    )
    assert text_of(got) == '[{"name": 1}]'
    assert got[0] == Thinking(1)


@pytest.mark.parametrize("reason", ["length", "content_filter"])
async def test_an_answer_that_was_cut_says_so(reason: str) -> None:
    got = await answered([CallPiece(0, '{"na', "a", "town"), Finished(reason)])
    assert got == [Joined('{"na', 1), Finished(reason)]


async def test_text_before_the_call_is_no_answer_and_is_counted_all_the_same() -> None:
    got = await answered(
        [
            "Let me ",
            Joined("see.", 3),
            CallPiece(0, "{}", "a", "town"),
            "Done.",
            CallPiece(0, " "),
            Finished("tool_calls"),
        ]
    )
    assert text_of(got) == "{} "
    assert [piece.pieces for piece in got if isinstance(piece, Thinking)] == [1, 3, 1]


async def test_text_instead_of_a_call_is_the_answer() -> None:
    got = await answered(["I ", Joined("cannot.", 2), Reported(None), Finished("stop")])
    assert got == [Thinking(1), Thinking(2), Reported(None), Joined("I cannot.", 0), Finished("stop")]


async def test_text_without_end_is_not_held() -> None:
    got = await answered(["x" * HELD_MAX, "y", "z", Finished("length")])
    assert got == [Thinking(1), Thinking(1), Joined("x" * HELD_MAX + "y", 0), Joined("z", 1), Finished("length")]


async def test_calls_of_the_callers_tools_stay_calls_with_the_text_before_them() -> None:
    got = await answered(
        ["Let me see.", CallPiece(0, "{}", "a", "clock"), CallPiece(1, "{}", "b", "weather"), Finished("tool_calls")],
        request(tools=Tools(offered=OWN)),
    )
    assert got == [
        Thinking(1),
        Joined("Let me see.", 0),
        CallPiece(0, "{}", "a", "clock"),
        CallPiece(1, "{}", "b", "weather"),
        Finished("tool_calls"),
    ]


async def test_a_call_beside_the_answer_stays_one_and_is_counted_without_it() -> None:
    got = await answered(
        [
            CallPiece(0, '{"name": 1}', "a", "town"),
            CallPiece(1, "{", "b", "clock"),
            CallPiece(1, "}"),
            Finished("tool_calls"),
        ],
        request(tools=Tools(offered=OWN)),
    )
    assert text_of(got) == '{"name": 1}'
    assert calls_of(got) == [CallPiece(0, "{", "b", "clock"), CallPiece(0, "}")]
    assert got[-1] == Finished("tool_calls")


async def test_there_is_one_answer() -> None:
    got = await answered(
        [CallPiece(0, "{}", "a", "town"), CallPiece(1, "{}", "b", "town"), CallPiece(1, " "), Finished("tool_calls")]
    )
    assert got == [Joined("{}", 1), Thinking(1), Thinking(1), Finished("stop")]


async def test_a_failure_passes_and_whoever_closes_closes_the_vendors_pieces() -> None:
    closed = []

    async def broken() -> AsyncGenerator[Piece, None]:
        try:
            yield CallPiece(0, "{", "a", "town")
            raise ProviderError("broke off")
        finally:
            closed.append(True)

    pieces = Fitted(request()).undone(broken())
    assert await anext(pieces) == Joined("{", 1)
    with pytest.raises(ProviderError):
        await anext(pieces)
    left = Fitted(request()).undone(broken())
    await anext(left)
    await left.aclose()
    assert closed == [True, True]
