"""A model in the form that OpenAI's Codex reads from `GET /v1/models?client_version=…`.

The fields are those without which Codex rejects the list (`ModelInfo` in codex-rs/protocol/src/openai_models.rs, early
2026, and tried with 0.169, 2026-11), and those whose default would be wrong here. Codex ignores fields that its version
does not know.
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
"""The instructions for Codex, which has none of its own for a listed model."""
TOOL_OUTPUT_BYTES = 10_000
"""Bytes of a tool's output that Codex keeps by default for an unknown model."""
DEFAULT_EFFORT: ReasoningEffort = "medium"
EFFORTS: dict[ReasoningEffort, str] = {
    "none": "No thinking",
    "low": "Little thinking, quick answers",
    "medium": "Some thinking: the vendor's default",
    "high": "Much thinking, slow answers",
}


class CodexEffort(msgspec.Struct, frozen=True):
    """A reasoning effort that the model has."""

    effort: ReasoningEffort
    """The name of the effort."""
    description: str
    """A text about the effort, which Codex shows."""


class CodexTruncation(msgspec.Struct, frozen=True):
    """The limit on how much of a tool's output Codex passes on to the model."""

    mode: Literal["bytes"] = "bytes"
    """Always `bytes`."""
    limit: int = TOOL_OUTPUT_BYTES
    """Bytes of one tool's output that Codex keeps."""


class CodexModel(msgspec.Struct, frozen=True, kw_only=True):
    """A model in the form that OpenAI's Codex reads."""

    slug: str
    """The public name, for the field `model` of a request."""
    display_name: str
    """The public name, which Codex shows."""
    description: str
    """The name of the model that serves, and its company."""
    default_reasoning_level: ReasoningEffort | None
    """The reasoning effort that Codex asks for by default; null if the model has no efforts or no `medium`."""
    supported_reasoning_levels: list[CodexEffort]
    """The efforts that the model takes together with tools, from least to most."""
    shell_type: Literal["default"] = "default"
    """Always `default`: Codex's own shell tool."""
    visibility: Literal["list", "hide"]
    """`list`, or `hide` for models without tools and for retired models: Codex's picker leaves these out."""
    supported_in_api: Literal[True] = True
    """Always true."""
    priority: int
    """The model's place in the catalogue; Codex lists smaller numbers first."""
    availability_nux: None = None
    """Always null: there is no notice to show."""
    upgrade: None = None
    """Always null: no other model is proposed."""
    base_instructions: str = INSTRUCTIONS
    """The instructions that Codex gives the model."""
    supports_reasoning_summaries: bool
    """True if the model thinks, so that a summary of its thoughts may be asked for."""
    supports_reasoning_summary_parameter: bool
    """True if a request may have the field `reasoning.summary`, which holds for models that think."""
    default_reasoning_summary: Literal["none", "auto"]
    """`auto` for models that think, `none` for others."""
    support_verbosity: Literal[False] = False
    """Always false: `verbosity` is left out here."""
    default_verbosity: None = None
    """Always null."""
    apply_patch_tool_type: Literal["freeform"] | None
    """`freeform` for models with tools: they send patches as text. Null for other models."""
    truncation_policy: CodexTruncation = CodexTruncation()
    """The limit on how much of a tool's output Codex passes on to the model."""
    supports_parallel_tool_calls: bool
    """True if the model may call several tools at once."""
    context_window: int
    """Tokens of input and output together."""
    max_context_window: int
    """Tokens of input and output together, the same as `context_window`."""
    experimental_supported_tools: list[str] = []
    """Always empty."""
    input_modalities: list[Literal["text", "image"]]
    """`text`, and `image` for models that see."""


class CodexModels(msgspec.Struct, frozen=True):
    """All models, for Codex."""

    models: list[CodexModel]
    """The models, in the catalogue's order."""


def _efforts(model: Model) -> tuple[ReasoningEffort, ...]:
    """The reasoning efforts that the model takes beside tools, because Codex always offers tools."""
    quiet_only = "reasoning" in model.tools_lack and model.second_api is None
    return ("none",) if quiet_only else model.reasoning_efforts


def _default_effort(efforts: tuple[ReasoningEffort, ...]) -> ReasoningEffort | None:
    """`none` if that is the model's first effort: such a model is told not to think unless Codex asks for more.
    Otherwise the default effort; None if the model does not have it.
    """
    return efforts[0] if efforts[:1] == ("none",) else DEFAULT_EFFORT if DEFAULT_EFFORT in efforts else None


def codex_model(model: Model, catalogue: Catalogue, place: int) -> CodexModel:
    """The model, listed at `place`."""
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
