"""An answer that is kept takes little more than its text, and loses nothing."""

from __future__ import annotations

import tracemalloc

from shared.chat import CallPiece
from shared.job import Chunk
from workers.request.joined_parts import WholeAnswer

TOKENS = 50_000


def test_it_is_whole() -> None:
    answer = WholeAnswer()
    for number in range(1_000):
        answer.add(Chunk(f"{number} "))
    answer.add(CallPiece(0, "{", "call_a", "f"))
    for _ in range(1_000):
        answer.add(CallPiece(0, "x"))
    answer.add(CallPiece(1, "}", "call_b", "g"))
    texts = [part.text for part in answer.parts if isinstance(part, Chunk)]
    calls = [part for part in answer.parts if isinstance(part, CallPiece)]
    assert "".join(texts) == "".join(f"{number} " for number in range(1_000))
    assert sum(part.pieces for part in answer.parts) == 2_002
    assert "".join(part.arguments for part in calls if part.index == 0) == "{" + "x" * 1_000
    assert [(part.index, part.id, part.name) for part in calls if part.id] == [(0, "call_a", "f"), (1, "call_b", "g")]


def test_it_takes_little_more_than_its_text() -> None:
    tracemalloc.start()
    try:
        answer = WholeAnswer()
        for number in range(TOKENS):
            answer.add(Chunk(f"{number:04}"))
        taken = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert TOKENS * 4 <= taken < TOKENS * 8
