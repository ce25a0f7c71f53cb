"""Answers of the Gemini API, as typed structs: ai.google.dev/api/generate-content (v1beta, read 2026-11)."""

from __future__ import annotations

from typing import Any

import msgspec

from shared.money import Usage


class FunctionCall(msgspec.Struct):
    """A whole call. Gemini does not stream arguments, and only its newer models give ids."""

    name: str
    id: str | None = None
    args: dict[str, Any] | None = None


class Part(msgspec.Struct, rename="camel"):
    """A text, a summary of a thought, or a call, which may have the signature of the thought before it."""

    text: str | None = None
    thought: bool = False
    thought_signature: str | None = None
    function_call: FunctionCall | None = None


class Content(msgspec.Struct):
    """The parts of an answer."""

    parts: list[Part] | None = None


class Candidate(msgspec.Struct, rename="camel"):
    """One answer; only one is asked for."""

    content: Content | None = None
    finish_reason: str | None = None


class Feedback(msgspec.Struct, rename="camel"):
    """The vendor's verdict on the prompt."""

    block_reason: str | None = None


class Counts(msgspec.Struct, rename="camel"):
    """The tokens so far. Tokens of thoughts (billed as output) are not part of the candidates' tokens, and tokens of
    results of Google's own tools (billed as input) are not part of the prompt's; cached tokens are part of the
    prompt's.
    """

    prompt_token_count: int | None = None
    tool_use_prompt_token_count: int = 0
    cached_content_token_count: int = 0
    candidates_token_count: int = 0
    thoughts_token_count: int = 0
    service_tier: str | None = None
    """The tier that serves, in streams and in whole answers (github.com/vercel/ai/pull/15488, read 2026-11)."""

    def usage(self) -> Usage | None:
        """The usage; None if the prompt was not counted."""
        if self.prompt_token_count is None or self.tool_use_prompt_token_count < 0:
            return None
        prompt = self.prompt_token_count + self.tool_use_prompt_token_count
        output = self.candidates_token_count + self.thoughts_token_count
        return Usage(prompt, output, self.cached_content_token_count, self.thoughts_token_count)


class Body(msgspec.Struct, rename="camel"):
    """An answer, a chunk of one, or an error instead."""

    candidates: list[Candidate] | None = None
    prompt_feedback: Feedback | None = None
    usage_metadata: Counts | None = None
    error: dict[str, Any] | None = None
