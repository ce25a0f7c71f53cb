"""The tool that stands for a JSON answer: models that cannot be held to JSON in another way must call it, and its arguments
are the answer.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

from shared.chat import JsonAnswer, Tool

WHOLE_ANSWER = "whole_answer"
"""The only argument of `answer_tool` if the answer is wrapped; an answer is unlikely to have a property of this name."""
_ALTERNATIVES = {"anyOf", "oneOf", "allOf", "$ref"}
"""Keywords that vendors refuse at the root of a tool's schema."""
_DEFINITIONS = ("$defs", "definitions")
_REFERENCE = re.compile(rb'"\$ref":"#(?!/\$defs/|/definitions/)')


def answer_tool(answer: JsonAnswer) -> Tool:
    """A tool whose arguments are the answer, for models that can be held to JSON in no other way. If `is_wrapped`, the
    answer is its only argument.
    """
    schema = answer.schema or {"type": "object", "additionalProperties": True}
    return Tool(
        name=answer.name,
        description=answer.description or "Gives the answer to the user. Call it to answer.",
        parameters=_wrapped(schema) if is_wrapped(answer) else schema,
        strict=answer.strict,
    )


def is_wrapped(answer: JsonAnswer) -> bool:
    """True if the answer has to be wrapped in an argument. The arguments of a call are an object with named properties,
    and a model that is asked for any object calls the tool with an empty one (github.com/BerriAI/litellm/pull/35218,
    read 2026-11).
    """
    schema = answer.schema or {}
    return schema.get("type") != "object" or not schema.get("properties") or not _ALTERNATIVES.isdisjoint(schema)


def _wrapped(schema: dict[str, Any]) -> dict[str, Any]:
    """An object with the schema as its property. Definitions stay at the root; other references are changed to point into
    the property.
    """
    moved = _REFERENCE.sub(rb'"$ref":"#/properties/%s' % WHOLE_ANSWER.encode(), msgspec.json.encode(schema))
    inner: dict[str, Any] = msgspec.json.decode(moved)
    definitions = {name: inner.pop(name) for name in _DEFINITIONS if name in inner}
    wrapper = {"type": "object", "properties": {WHOLE_ANSWER: inner}, "required": [WHOLE_ANSWER]}
    return {**wrapper, "additionalProperties": False, **definitions}
