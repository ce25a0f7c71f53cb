"""Gemini's own caching of prompts: implicit caching, from 2.5 on.

Source, read 2026-11: ai.google.dev/gemini-api/docs/caching; for 2.5 Flash-Lite discuss.ai.google.dev/t/178942, which
quotes its API. The size of the steps was not found.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from deploy.simulator.caching import Piece, Policy, Spoken, picture, rest
from deploy.simulator.gemini.models import Model
from deploy.simulator.gemini.tools import Content, FunctionTool, declared

STEP = 128
MINIMUM, MINIMUM_2_5 = 4_096, 2_048


def policy_of(model: Model) -> Policy | None:
    """The caching policy; None for a model that caches only what it is told to."""
    if model.is_new:
        return Policy(minimum=MINIMUM, step=STEP)
    return Policy(minimum=MINIMUM_2_5, step=STEP) if model.budget else None


def pieces_of(contents: list[Content], tools: list[FunctionTool]) -> list[Piece]:
    """The prompt in the vendor's order; `contents` begin with the instruction."""
    pieces = [rest(msgspec.json.encode(one)) for one in declared(tools)]
    for content in contents:
        pieces += _spoken(content)
    return pieces


def _spoken(content: Content) -> Iterator[Piece]:
    spoken = Spoken(content.role or "")
    yield spoken.opening
    for part in content.parts:
        if used := part.function_call or part.function_response:
            yield rest(msgspec.json.encode(used))
        elif part.inline_data:
            yield picture(part.inline_data.data.encode())
        else:
            yield spoken.text(part.text or "")
