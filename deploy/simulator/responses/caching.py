"""The cache of OpenAI's Responses API. Its refusals of hints are those of chat completions.

Sources, read 2026-11: openai-python 3.54 (`ResponseInputTextParam`, `ResponseInputTextContentParam`: parts of input and
of a tool's output have a `prompt_cache_breakpoint`, those of an answer none) and its guide,
developers.openai.com/api/docs/guides/prompt-caching.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from deploy.simulator.caching import Piece, Spoken, picture, rest
from deploy.simulator.openai.body import Breakpoint
from deploy.simulator.openai.caching import kept_for, with_marks_that_count
from deploy.simulator.openai.models import Model
from deploy.simulator.responses.body import Item, ResponsesRequest


def pieces_of(body: ResponsesRequest, model: Model) -> list[Piece]:
    """The prompt in the vendor's order, with the marks that count."""
    pieces = [rest(msgspec.json.encode(tool)) for tool in body.tools or ()]
    pieces += [rest(msgspec.json.encode(body.schema))] if body.schema else []
    pieces += [rest(body.instructions.encode())] if body.instructions else []
    for item in body.items:
        pieces += _spoken(item)
    return with_marks_that_count(pieces, body) if model.breakpoints else pieces


def breakpoints_of(body: ResponsesRequest) -> list[Breakpoint]:
    """The marks of all parts."""
    marks = (part.prompt_cache_breakpoint for item in body.items for part in item.parts())
    return [mark for mark in marks if mark]


def _spoken(item: Item) -> Iterator[Piece]:
    """The pieces of an item. Reasoning of earlier turns is not part of the cached prompt, because its tokens are not
    counted here either.
    """
    if item.type == "reasoning":
        return
    spoken = Spoken(item.role or item.type)
    yield spoken.opening
    if item.type == "function_call":
        yield spoken.text((item.name or "") + (item.arguments or ""))
    elif not item.parts():
        yield spoken.text(item.text())
    for part in item.parts():
        kept_s = kept_for(part.prompt_cache_breakpoint)
        if part.type == "input_image":
            yield picture(msgspec.json.encode(part.image_url), kept_s)
        else:
            yield spoken.text(part.text or part.refusal, kept_s)
