from __future__ import annotations

from itertools import chain, repeat

import pytest

from shared.answers import joined_calls, parts_of, whole
from shared.chat import CallPiece, ToolCall
from shared.job import AnswerPart, Chunk, Done, KeptAnswer, pack, unpack_answer
from shared.money import Usage
from shared.thoughts import Thought, ThoughtPiece, in_order

DONE = Done("stop", Usage(1, 2), 3)
ONE, TWO = ToolCall("call_1", "one", "{}"), ToolCall("call_2", "two", '{"a": 1}')
BEGUN_1, BEGUN_2 = CallPiece(0, "{}", "call_1", "one"), CallPiece(1, '{"a"', "call_2", "two")
MORE_2 = CallPiece(1, ": 1}")
THOUGHT_1, THOUGHT_2 = ThoughtPiece(0, "Hm.", "s1"), ThoughtPiece(1, "Aha.")


def _in_order(done: Done) -> list[str | ToolCall | Thought]:
    return list(in_order(done.text or "", done.calls, done.thoughts, done.call_places))


@pytest.mark.parametrize(
    ("parts", "blocks", "places"),
    [
        ([Chunk("so"), BEGUN_1, BEGUN_2, MORE_2], ["so", ONE, TWO], ()),
        ([BEGUN_1, Chunk("so"), BEGUN_2, MORE_2], [ONE, "so", TWO], (0, 2)),
        ([BEGUN_1, BEGUN_2, MORE_2, Chunk("s"), Chunk("o")], [ONE, TWO, "so"], (0, 0)),
        ([Chunk("a"), BEGUN_1, Chunk("b"), BEGUN_2, Chunk("c"), MORE_2], ["a", ONE, "b", TWO, "c"], (1, 2)),
        ([BEGUN_2, MORE_2, Chunk("so"), BEGUN_1], [ONE, "so", TWO], (0, 2)),
        (
            [THOUGHT_1, Chunk("a"), BEGUN_1, THOUGHT_2, Chunk("b"), BEGUN_2, MORE_2],
            [Thought("Hm.", "s1"), "a", ONE, Thought("Aha.", after_text=1, after_calls=1), "b", TWO],
            (1, 2),
        ),
        (
            [BEGUN_1, Chunk("a"), THOUGHT_1, Chunk("b"), THOUGHT_2, BEGUN_2, MORE_2],
            [
                ONE,
                "a",
                Thought("Hm.", "s1", after_text=1, after_calls=1),
                "b",
                Thought("Aha.", after_text=2, after_calls=1),
                TWO,
            ],
            (0, 2),
        ),
        ([BEGUN_1], [ONE], ()),
        ([Chunk("so")], ["so"], ()),
        ([], [], ()),
    ],
)
def test_text_calls_and_thoughts_stand_in_the_order_in_which_they_came(
    parts: list[AnswerPart], blocks: list[str | ToolCall | Thought], places: tuple[int, ...]
) -> None:
    """Calls are those of their indexes; text stands behind as many of them as had been heard of."""
    answer = whole(DONE, parts)
    assert answer.call_places == places
    assert _in_order(answer) == blocks
    assert whole(DONE, parts_of(answer)) == answer
    assert unpack_answer(pack(KeptAnswer(answer, None))).done == answer


def test_an_answer_that_says_nothing_of_places_has_its_text_before_its_calls() -> None:
    """As those have that were kept by the release before."""
    assert _in_order(Done("stop", Usage(1, 2), 3, "so", (ONE, TWO))) == ["so", ONE, TWO]


def test_calls_are_joined_however_many_pieces_they_came_in() -> None:
    """A million pieces run into the limit that every test has, where each makes a copy of what came before it."""
    begun = (CallPiece(1, "", "b", "late"), CallPiece(0, "[", "a", "early"))
    pieces = chain(begun, repeat(CallPiece(1, "1€, "), 1_000_000), (CallPiece(0, "]"),))
    early, late = joined_calls(pieces)
    assert (early, late.id, late.name) == (ToolCall("a", "early", "[]"), "b", "late")
    assert late.arguments == "1€, " * 1_000_000
