"""Answers of the Gemini API as they come: ai.google.dev/api/generate-content (v1beta, read 2026-11)."""

from __future__ import annotations

from typing import Any

import msgspec

from shared.money import Usage


class FunctionCall(msgspec.Struct):
    """A whole call; Gemini streams no arguments, and gives ids only since its newer models."""

    name: str
    id: str | None = None
    args: dict[str, Any] | None = None


class Part(msgspec.Struct, rename="camel"):
    """Text, a summary of a thought, or a call; a call may come with the signature of the thought before it."""

    text: str | None = None
    thought: bool = False
    thought_signature: str | None = None
    function_call: FunctionCall | None = None


class Content(msgspec.Struct):
    """What was said."""

    parts: list[Part] | None = None


class Candidate(msgspec.Struct, rename="camel"):
    """One answer, of which only one is asked for."""

    content: Content | None = None
    finish_reason: str | None = None


class Feedback(msgspec.Struct, rename="camel"):
    """What was thought of the prompt."""

    block_reason: str | None = None


class Counts(msgspec.Struct, rename="camel"):
    """Of the answer so far. Thoughts (billed as output) stand beside the candidates' tokens, results of Google's own tools
    (billed as input) beside the prompt's; cached ones are inside.
    """

    prompt_token_count: int | None = None
    tool_use_prompt_token_count: int = 0
    cached_content_token_count: int = 0
    candidates_token_count: int = 0
    thoughts_token_count: int = 0

    def usage(self) -> Usage | None:
        """None where the prompt was not counted."""
        if self.prompt_token_count is None or self.tool_use_prompt_token_count < 0:
            return None
        prompt = self.prompt_token_count + self.tool_use_prompt_token_count
        output = self.candidates_token_count + self.thoughts_token_count
        return Usage(prompt, output, self.cached_content_token_count, self.thoughts_token_count)


class Body(msgspec.Struct, rename="camel"):
    """An answer, a chunk of one, or an error in the place of either."""

    candidates: list[Candidate] | None = None
    prompt_feedback: Feedback | None = None
    usage_metadata: Counts | None = None
    error: dict[str, Any] | None = None
