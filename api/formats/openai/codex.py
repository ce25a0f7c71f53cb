"""A model as OpenAI's Codex reads it from `GET /v1/models?client_version=…`: its limits, and what it may be asked for there.

The fields are those without which Codex takes no list (`ModelInfo` in codex-rs/protocol/src/openai_models.rs, early 2026, and
tried with 0.169, 2026-11), and those whose default would not be true here. A field that a version does not know, it ignores.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from shared.catalogue.models import Catalogue, Model
from shared.chat import ReasoningEffort

INSTRUCTIONS = (
    "You are a coding agent in the Codex CLI: you work in the user's folder with the tools that you are given, and every "
    "change there is real. Read what a task is about before you change it, and the AGENTS.md files that apply to it. Do what "
    "is asked, with the smallest change that does it whole; leave alone what you did not make. Prefer rg to find things. Run "
    "the tests that cover your change, and correct what they show. Never undo or discard the user's work, and ask before "
    "anything that cannot be undone. Go on until the task is done or you need an answer. At the end say briefly what you "
    "did, where, and what you could not check."
)
"""Codex has no instructions of its own for a model that a list describes: without these it would have none at all."""
TOOL_OUTPUT_BYTES = 10_000
"""What Codex itself keeps of a tool's output for a model that it does not know."""
DEFAULT_EFFORT: ReasoningEffort = "medium"
EFFORTS: dict[ReasoningEffort, str] = {
    "none": "No thinking",
    "low": "Little thinking, quick answers",
    "medium": "Some thinking: the vendor's default",
    "high": "Much thinking, slow answers",
}


class CodexEffort(msgspec.Struct, frozen=True):
    """One that the model has."""

    effort: ReasoningEffort
    description: str


class CodexTruncation(msgspec.Struct, frozen=True):
    """How much of a tool's output the model is told."""

    mode: Literal["bytes"] = "bytes"
    limit: int = TOOL_OUTPUT_BYTES


class CodexModel(msgspec.Struct, frozen=True, kw_only=True):
    """`slug` is the public name; everything else is of the model that serves it. A smaller `priority` is listed earlier;
    models without tools, and those that are gone, are in no picker. A model with tools is given patches as text
    (`freeform`): without it Codex offers no `apply_patch` at all.
    """

    slug: str
    display_name: str
    description: str
    default_reasoning_level: ReasoningEffort | None
    supported_reasoning_levels: list[CodexEffort]
    shell_type: Literal["default"] = "default"
    visibility: Literal["list", "hide"]
    supported_in_api: Literal[True] = True
    priority: int
    availability_nux: None = None
    upgrade: None = None
    base_instructions: str = INSTRUCTIONS
    supports_reasoning_summaries: bool
    supports_reasoning_summary_parameter: bool
    default_reasoning_summary: Literal["none", "auto"]
    support_verbosity: Literal[False] = False
    default_verbosity: None = None
    apply_patch_tool_type: Literal["freeform"] | None
    truncation_policy: CodexTruncation = CodexTruncation()
    supports_parallel_tool_calls: bool
    context_window: int
    max_context_window: int
    experimental_supported_tools: list[str] = []
    input_modalities: list[Literal["text", "image"]]


class CodexModels(msgspec.Struct, frozen=True):
    """All of them."""

    models: list[CodexModel]


def _efforts(model: Model) -> tuple[ReasoningEffort, ...]:
    """The reasoning efforts that a model takes together with tools: Codex always offers tools."""
    quiet_only = "reasoning" in model.tools_lack and model.second_api is None
    return ("none",) if quiet_only else model.reasoning_efforts


def _default_effort(efforts: tuple[ReasoningEffort, ...]) -> ReasoningEffort | None:
    """A model that is told not to think where nothing is asked for has `none` as its first."""
    return efforts[0] if efforts[:1] == ("none",) else DEFAULT_EFFORT if DEFAULT_EFFORT in efforts else None


def codex_model(model: Model, catalogue: Catalogue, place: int) -> CodexModel:
    """The model at `place` in the catalogue."""
    served = catalogue.serving(model.name)
    efforts = _efforts(served)
    thinks = any(effort != "none" for effort in efforts)
    return CodexModel(
        slug=model.name,
        display_name=model.name,
        description=f"{served.name} of {served.company}",
        default_reasoning_level=_default_effort(efforts),
        supported_reasoning_levels=[CodexEffort(effort, EFFORTS.get(effort, effort)) for effort in efforts],
        visibility="list" if served.tools and served.lifecycle != "retired" else "hide",
        priority=place,
        apply_patch_tool_type="freeform" if served.tools else None,
        supports_reasoning_summaries=thinks,
        supports_reasoning_summary_parameter=thinks,
        default_reasoning_summary="auto" if thinks else "none",
        supports_parallel_tool_calls=served.tools,
        context_window=served.context_window,
        max_context_window=served.context_window,
        input_modalities=["text"] if served.image_tokens is None else ["text", "image"],
    )
