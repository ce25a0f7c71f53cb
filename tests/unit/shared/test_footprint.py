"""What a question takes in memory is told from what stands in it, and not only from its bytes."""

from __future__ import annotations

import tracemalloc

import msgspec
import pytest

from shared.chat import Chat, Message, TextPart, Tool, Tools
from shared.footprint import footprint_of

COPIES = 4
"""Bytes of memory that a byte of plain text is taken for."""
EMPTY = Tools()
LISTS = {"type": "object", "x": [[] for _ in range(10_000)]}


def _taken(messages: list[Message], tools: Tools) -> int:
    """By what a worker decodes."""
    packed = msgspec.msgpack.encode((messages, tools))
    tracemalloc.start()
    try:
        decoded = msgspec.msgpack.decode(packed, type=tuple[list[Message], Tools])
        taken = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert decoded == (messages, tools)
    return taken


@pytest.mark.parametrize(
    ("messages", "tools"),
    [
        ([Message("user", "x" * 100_000)], EMPTY),
        ([Message("user", "\N{GRINNING FACE}" + "x" * 100_000)], EMPTY),
        ([Message("user", [TextPart("a")] * 10_000)], EMPTY),
        ([Message("user", "Hello")], Tools(offered=(Tool(name="f", parameters=LISTS),))),
    ],
    ids=["text", "one wide letter", "many parts", "many values"],
)
def test_it_is_not_less_than_what_is_decoded(messages: list[Message], tools: Tools) -> None:
    footprint = footprint_of(Chat(messages, tools=tools))
    assert _taken(messages, tools) <= COPIES * footprint


def test_plain_text_counts_its_bytes() -> None:
    assert 1_000_000 <= footprint_of(Chat([Message("user", "x" * 1_000_000)], tools=EMPTY)) < 1_000_200


def test_a_wide_letter_widens_its_whole_text() -> None:
    text = "\N{GRINNING FACE}" + "x" * 1_000_000
    assert footprint_of(Chat([Message("user", text)], tools=EMPTY)) > 4_000_000


def test_each_value_of_a_schema_counts() -> None:
    tools = Tools(offered=(Tool(name="f", parameters=LISTS),))
    assert footprint_of(Chat([], tools=tools)) > 50 * 10_000
