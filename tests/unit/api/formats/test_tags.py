"""What says its kind in a body has to say it: msgspec asks for a tag only where it has to choose between structs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from msgspec import inspect

from api.formats.anthropic.chat import parse_count, parse_message
from api.formats.openai.chat import parse_completion
from api.routes import ROUTES
from shared.errors import InvalidRequest


def structs_of(kind: inspect.Type, *, chosen: bool = False) -> Iterator[tuple[inspect.StructType, bool]]:
    """Those of a type that stand in it itself, each with whether it is chosen among others."""
    match kind:
        case inspect.StructType():
            yield kind, chosen
        case inspect.UnionType(types=types):
            several = sum(isinstance(one, inspect.StructType) for one in types) > 1
            for one in types:
                yield from structs_of(one, chosen=several)
        case inspect.ListType(item_type=inside) | inspect.VarTupleType(item_type=inside):
            yield from structs_of(inside)
        case inspect.DictType(value_type=inside):
            yield from structs_of(inside)
        case inspect.Metadata(type=inside):
            yield from structs_of(inside, chosen=chosen)


def bodies() -> set[Any]:
    contents = [kind for route in ROUTES if route.body for kind in route.body.content.values()]
    return {
        one for kind in contents for one in (kind if isinstance(kind, tuple) else (kind,)) if not isinstance(one, str)
    }


def test_no_struct_of_a_body_has_a_tag_where_it_stands_alone() -> None:
    seen: set[type] = set()
    alone: list[str] = []
    waiting = [inspect.type_info(kind) for kind in bodies()]
    while waiting:
        for struct, chosen in structs_of(waiting.pop()):
            if struct.tag_field and not chosen:
                alone.append(struct.cls.__name__)
            if struct.cls not in seen:
                seen.add(struct.cls)
                waiting += [field.type for field in struct.fields]
    assert len(seen) > 30
    assert alone == []


@pytest.mark.parametrize("part", [{"text": "x"}, {"type": "image", "text": "x"}])
def test_parts_of_instructions_say_that_they_are_text(part: dict[str, str]) -> None:
    said = {"model": "openai-gpt-4o", "messages": [{"role": "user", "content": "x"}]}
    with pytest.raises(InvalidRequest, match=r"system\[0\]"):
        parse_count(msgspec.json.encode({**said, "system": [part]}))
    messages = [{"role": "system", "content": [part]}, *said["messages"]]
    with pytest.raises(InvalidRequest, match=r"messages\[0\]"):
        parse_completion(msgspec.json.encode({**said, "messages": messages}))


def test_instructions_amid_a_talk_may_be_parts() -> None:
    turns = [{"role": "user", "content": "x"}, {"role": "system", "content": [{"type": "text", "text": "Be brief."}]}]
    asked = parse_message(msgspec.json.encode({"model": "openai-gpt-4o", "max_tokens": 9, "messages": turns}))
    assert [(message.role, message.text()) for message in asked.messages] == [("user", "x"), ("system", "Be brief.")]
